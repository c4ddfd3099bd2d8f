/**
 * `safetensors`: all planes of a result in full precision, legend and provenance as metadata. The format has no
 * unsigned type above 8 bits, so wider labels go as I32 with -1 for nothing.
 */

import { show, WordmaskError } from '../util/errors.js';
import { inSlices } from '../util/slices.js';
import { decodeTensor, parseSafetensors } from '../weights/safetensors.js';
import { type TensorToWrite, writeSafetensors } from '../weights/safetensors-writer.js';
import {
  checkResult,
  fileBytes,
  fromText,
  type LabelFormat,
  type LabelResult,
  nothingOf,
  type Plane,
  textOf,
} from './format.js';
import { checkedLegend, presentLabels } from './label-png.js';
import { labelPlane, planeNames, planeOf } from './planes.js';

export const safetensors: LabelFormat = {
  name: 'safetensors',
  extension: '.safetensors',
  async write(result, options = {}) {
    checkResult(result);
    const tensors: [string, TensorToWrite][] = [];
    for (const name of planeNames) {
      if (name !== 'labels' && !result[name]) continue;
      const plane = planeOf(result, name);
      tensors.push([name, { shape: plane.shape, data: await storable(plane, options.signal) }]);
    }
    const metadata = Object.fromEntries(textOf(result).map(({ keyword, text }) => [keyword, text]));
    return writeSafetensors(null, tensors, { metadata, signal: options.signal });
  },
  // Planes may be views of the input: reading a large file does not take its memory twice.
  async read(input, options = {}) {
    const bytes = fileBytes(input, '.safetensors', 'safetensors');
    const { tensors, metadata, dataOffset } = parseSafetensors(bytes, 'safetensors');
    const planes = new Map<string, Plane>();
    for (const name of planeNames) {
      const entry = tensors.get(name);
      if (!entry) continue;
      const data = decodeTensor(bytes.subarray(dataOffset + entry.begin, dataOffset + entry.end), entry.dtype, name);
      planes.set(name, { data: data as Plane['data'], shape: [...entry.shape] });
    }
    const labels = planes.get('labels');
    if (labels?.shape.length !== 2 || labels.data instanceof Float32Array || labels.data instanceof Float64Array) {
      throw new WordmaskError(
        'E_USAGE',
        `a safetensors label file needs the tensor "labels" [H, W] of whole numbers, got ${show(labels?.shape)}`,
      );
    }
    const found = fromText([...metadata].map(([keyword, text]) => ({ keyword, text })));
    const legend = options.legend ?? found.legend;
    const map = await labelPlane(labels.data, legend, options.signal);
    const result: LabelResult = {
      width: labels.shape[1] as number,
      height: labels.shape[0] as number,
      labels: map,
      legend: await checkedLegend(legend, await presentLabels(map, options.signal)),
    };
    planes.delete('labels');
    return { ...result, ...Object.fromEntries(planes), ...(found.provenance && { provenance: found.provenance }) };
  },
};

/** The plane as one of the types the format has. */
async function storable(
  { data }: Plane,
  signal?: AbortSignal,
): Promise<Uint8Array | Int32Array | Float32Array | Float64Array> {
  if (!(data instanceof Uint16Array) && !(data instanceof Uint32Array)) return data;
  const nothing = nothingOf(data);
  const out = new Int32Array(data.length);
  await inSlices(
    data.length,
    1 << 20,
    (begin, end) => {
      for (let i = begin; i < end; i++) out[i] = data[i] === nothing ? -1 : (data[i] as number);
    },
    signal,
  );
  return out;
}
