/** `coco-panoptic`: RGB PNG with id = R + 256 G + 65536 B, 0 = void, and JSON with `segments_info`. */
import { masksOfLabels } from '../image/mask.js';
import { readPng, writePng } from '../image/png.js';
import { show, WordmaskError } from '../util/errors.js';
import { inSlices, Slices } from '../util/slices.js';
import { readCategories } from './coco-legend.js';
import {
  checkResult,
  type FormatFile,
  fileBytes,
  fromText,
  type LabelFormat,
  type LabelSegment,
  type ReadOptions,
  textOf,
} from './format.js';
import {
  categoriesOf,
  categoryId,
  integerField,
  type JsonObject,
  jsonBytes,
  objectList,
  parseJson,
  provenanceOf,
} from './json.js';
import { readSegment, resultOfSegments, segmentsOf } from './segments.js';

const MAX_ID = 2 ** 24 - 1;

export const cocoPanoptic: LabelFormat = {
  name: 'coco-panoptic',
  extension: '.json',
  async write(result, options = {}) {
    checkResult(result);
    const { width, height, legend, provenance } = result;
    const segments = await segmentsOf(result, options.signal);
    const stem = options.stem ?? 'labels';
    const imageId = options.imageId ?? 1;
    const file = `${stem}.png`;
    const data = await writePng(
      { width, height, kind: 'rgb', data: await idPixels(segments, width, height, options.signal) },
      { text: textOf(result), filter: 'none', signal: options.signal },
    );
    const json = {
      images: [{ id: imageId, width, height, file_name: options.imageFile ?? file }],
      annotations: [
        {
          image_id: imageId,
          file_name: file,
          segments_info: segments.map(({ id, label, score, mask }) => ({
            id,
            category_id: categoryId(label),
            iscrowd: 0,
            bbox: mask.bbox,
            area: mask.area,
            ...(score !== undefined && { score }),
          })),
        },
      ],
      categories: categoriesOf(legend),
      legend,
      ...(provenance && { wordmask: provenance }),
    };
    return [
      { name: `${stem}.json`, bytes: jsonBytes(json) },
      { name: file, bytes: data },
    ];
  },
  async read(input, options = {}) {
    if (input instanceof Uint8Array)
      throw new WordmaskError(
        'E_USAGE',
        'coco-panoptic is two files: pass the JSON and the PNG as a list of { name, bytes }',
      );
    const root = parseJson(fileBytes(input, '.json', 'coco-panoptic'), 'coco-panoptic');
    const annotation = pickAnnotation(root, options);
    const { ids, width, height, png } = await readPanopticIds(pngOf(input, annotation.file_name), options.signal);
    const { legend, indexOf } = readCategories(root, 'coco-panoptic');
    const segments = await readSegments(ids, width, height, annotation, indexOf, options.signal);
    const provenance = provenanceOf(root) ?? fromText(png.text).provenance;
    return resultOfSegments(segments, legend, { width, height, provenance, signal: options.signal });
  },
};

async function idPixels(
  segments: readonly LabelSegment[],
  width: number,
  height: number,
  signal?: AbortSignal,
): Promise<Uint8Array> {
  const ids = new Uint32Array(width * height);
  const slices = new Slices(signal);
  for (const { id, mask } of segments) {
    if (slices.due) await slices.pause();
    if (id > MAX_ID) throw new WordmaskError('E_USAGE', `segment id ${id} does not fit 24 bits`);
    for (let i = 0; i < mask.toggles.length; i += 2) {
      const [begin, end] = [mask.toggles[i] as number, mask.toggles[i + 1] as number];
      if (ids[begin] !== 0 || ids[end - 1] !== 0) throw overlap(id);
      ids.fill(id, begin, end);
    }
  }
  const out = new Uint8Array(ids.length * 3);
  await inSlices(
    ids.length,
    1 << 19,
    (begin, end) => {
      for (let i = begin; i < end; i++) {
        const id = ids[i] as number;
        out[3 * i] = id;
        out[3 * i + 1] = id >> 8;
        out[3 * i + 2] = id >> 16;
      }
    },
    signal,
  );
  return out;
}

function overlap(id: number): WordmaskError {
  return new WordmaskError(
    'E_USAGE',
    `segment ${id} overlaps another one; coco-panoptic gives each pixel one id: write coco instead`,
  );
}

/** The ids of a panoptic PNG, [H, W]. Throws E_IMAGE_FORMAT for other kinds of PNG. */
export async function readPanopticIds(bytes: Uint8Array, signal?: AbortSignal) {
  const png = await readPng(bytes, { signal });
  if ((png.kind !== 'rgb' && png.kind !== 'rgba') || png.bitDepth !== 8)
    throw new WordmaskError(
      'E_IMAGE_FORMAT',
      `a panoptic map is an 8-bit RGB PNG, this one is ${png.kind} with ${png.bitDepth} bits`,
    );
  const ids = new Uint32Array(png.width * png.height);
  const { data, channels } = png;
  await inSlices(
    ids.length,
    1 << 19,
    (begin, end) => {
      for (let i = begin; i < end; i++)
        ids[i] =
          (data[i * channels] as number) |
          ((data[i * channels + 1] as number) << 8) |
          ((data[i * channels + 2] as number) << 16);
    },
    signal,
  );
  return { ids, width: png.width, height: png.height, png };
}

function pickAnnotation(root: unknown, { imageId }: ReadOptions): JsonObject {
  const annotations = objectList(root, 'annotations', 'coco-panoptic');
  const found = imageId === undefined ? annotations[0] : annotations.find((item) => item.image_id === imageId);
  if (!found)
    throw new WordmaskError(
      'E_USAGE',
      `coco-panoptic file has no annotation${imageId === undefined ? '' : ` for image ${imageId}`}`,
    );
  return found;
}

function pngOf(input: readonly FormatFile[], fileName: unknown): Uint8Array {
  return (input.find(({ name }) => name === fileName) ?? { bytes: fileBytes(input, '.png', 'coco-panoptic') }).bytes;
}

async function readSegments(
  ids: Uint32Array,
  width: number,
  height: number,
  annotation: JsonObject,
  indexOf: ReadonlyMap<number, number>,
  signal?: AbortSignal,
): Promise<LabelSegment[]> {
  const masks = await masksOfLabels(ids, width, height, 0, signal);
  const segments = objectList(annotation, 'segments_info', 'coco-panoptic').map((item) => {
    const id = integerField(item, 'id', 'coco-panoptic segment', 1);
    const label = indexOf.get(item.category_id as number);
    const mask = masks.get(id);
    if (label === undefined)
      throw new WordmaskError(
        'E_USAGE',
        `coco-panoptic segment ${id} has category ${show(item.category_id)}, which is not listed`,
      );
    if (!mask)
      throw new WordmaskError('E_USAGE', `coco-panoptic segment ${id} is listed but no pixel of the PNG has its id`);
    masks.delete(id);
    return readSegment(id, label, mask, item.score);
  });
  const stray = masks.keys().next();
  if (!stray.done)
    throw new WordmaskError('E_USAGE', `the PNG holds id ${stray.value}, which segments_info does not list`);
  return segments;
}
