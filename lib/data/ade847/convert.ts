/**
 * The full ADE20K to pictures and 16-bit label maps of 847 classes, reduced to a short side of 512 where they are larger, as the
 * published preparation does it (evaluation.md section 8).
 */
import { basename, join } from 'node:path';
import { noGrad, resize, scope, Tensor } from '../../engine/index.js';
import { decodeImage } from '../../image/decode.js';
import { encodeJpeg } from '../../image/encode-jpeg.js';
import { imageLimits } from '../../image/limits.js';
import { readPng, writePng } from '../../image/png.js';
import { writeTiff } from '../../image/tiff-writer.js';
import { readAssetJson } from '../../util/assets.js';
import { WordmaskError } from '../../util/errors.js';
import { readFileLimited } from '../../util/files.js';
import { filesBelow } from '../../util/folder.js';
import { inSlices } from '../../util/slices.js';
import type { ConversionTask, LabelFileType, OwnConversion } from '../types/conversion.js';

const shortSide = 512;
const void16 = 65_535;
const suffix = '_seg.png';

export const adeToMaps847: OwnConversion = {
  kind: 'ade847',
  form: 'own',
  input: 'folder',
  text: 'ADE20K_2021_17_01 (*.jpg, *_seg.png) -> images_detectron2 and annotations_detectron2 of 847 classes',
  async tasks(input, { type, signal }) {
    const names = await filesBelow(input, signal);
    const all = new Set(names);
    const seen = new Map<string, string>();
    const indices = indicesByAdeId();
    return names
      .filter((name) => name.endsWith(suffix))
      .map((name) => {
        const picture = `${name.slice(0, -suffix.length)}.jpg`;
        if (!all.has(picture)) throw bad(`${join(input, name)} has no picture ${basename(picture)} beside it`);
        const stem = basename(picture, '.jpg');
        const twin = seen.get(stem);
        if (twin !== undefined) throw bad(`two pictures are named ${stem}: ${twin} and ${picture}`);
        seen.set(stem, picture);
        return task(join(input, picture), join(input, name), stem, type, indices);
      });
  },
};

const bad = (problem: string): WordmaskError => new WordmaskError('E_IMAGE_FORMAT', problem);

/** Index = ADE object id; 65535 for objects that are not among the 847. */
function indicesByAdeId(): Uint16Array {
  // R is at most 255: the largest id is 256 * 25 + 255.
  const indices = new Uint16Array(256 * 26).fill(void16);
  for (const { ade_id, index } of readAssetJson<{ ade_id: number; index: number }[]>('classes/ade847-ids.json'))
    indices[ade_id] = index;
  return indices;
}

function task(picture: string, label: string, stem: string, type: LabelFileType, indices: Uint16Array): ConversionTask {
  // ADE_val_00000001 is of the validation set, everything else of the training set.
  const split = stem.split('_')[1] === 'val' ? 'validation' : 'training';
  return {
    name: stem,
    inputs: [picture, label],
    outputs: [`images_detectron2/${split}/${stem}.jpg`, `annotations_detectron2/${split}/${stem}.${type}`],
    async convert(signal) {
      const image = await decodeImage(picture, { signal });
      const map = await readIds(label, indices, signal);
      if (map.width !== image.width || map.height !== image.height)
        throw bad(`${label} is ${map.width} x ${map.height}, its picture ${image.width} x ${image.height}`);
      const size = reducedSize(image.width, image.height);
      const small = size ? await reducePicture(image, size) : image;
      const smallMap = size ? await reduceMap(map, size, signal) : map;
      return [
        await encodeJpeg(small, { signal }),
        await (type === 'tif' ? writeTiff(smallMap, { signal }) : writePng({ ...smallMap, kind: 'grey' }, { signal })),
      ];
    },
  };
}

interface Size {
  readonly width: number;
  readonly height: number;
}

/** Undefined where nothing is reduced. */
export function reducedSize(width: number, height: number): Size | undefined {
  if (width >= height && height > shortSide)
    return { width: roundHalfEven((width / height) * shortSide), height: shortSide };
  if (height >= width && width > shortSide)
    return { width: shortSide, height: roundHalfEven((height / width) * shortSide) };
  return undefined;
}

/** Python's round. */
export function roundHalfEven(value: number): number {
  const low = Math.floor(value);
  const rest = value - low;
  if (rest !== 0.5) return rest < 0.5 ? low : low + 1;
  return low % 2 === 0 ? low : low + 1;
}

/** Object id = 256 * floor(R / 10) + G, as class index. */
async function readIds(
  path: string,
  indices: Uint16Array,
  signal?: AbortSignal,
): Promise<Size & { data: Uint16Array }> {
  const png = await readPng(await readFileLimited(path, { limit: imageLimits().fileBytes, signal }), { signal });
  const { width, height, channels, data } = png;
  if (channels < 3 || png.bitDepth !== 8)
    throw bad(`${path} is ${png.kind} with ${png.bitDepth} bits: ADE20K's *_seg.png are 8-bit RGB`);
  const out = new Uint16Array(width * height);
  await inSlices(
    out.length,
    1 << 18,
    (begin, end) => {
      for (let i = begin; i < end; i++) {
        const [red, green] = [data[i * channels] as number, data[i * channels + 1] as number];
        out[i] = indices[256 * Math.floor(red / 10) + green] as number;
      }
    },
    signal,
  );
  return { width, height, data: out };
}

async function reducePicture(
  { data, width, height }: Size & { data: Uint8Array },
  size: Size,
): Promise<Size & { data: Uint8Array }> {
  const small = await noGrad(() =>
    scope(() => resize(Tensor.from(data, [height, width, 3], 'u8'), { ...size, mode: 'opencv_linear' })),
  );
  try {
    return { ...size, data: (await small.data()) as Uint8Array };
  } finally {
    small.dispose();
  }
}

/** OpenCV's nearest neighbour: the pixel at floor(x * in / out), the factor rounded twice as there. */
async function reduceMap(
  { data, width, height }: Size & { data: Uint16Array },
  size: Size,
  signal?: AbortSignal,
): Promise<Size & { data: Uint16Array }> {
  const out = new Uint16Array(size.width * size.height);
  const [stepX, stepY] = [1 / (size.width / width), 1 / (size.height / height)];
  const columns = Uint32Array.from({ length: size.width }, (_, x) => Math.min(Math.floor(x * stepX), width - 1));
  await inSlices(
    size.height,
    Math.max(1, Math.floor((1 << 18) / size.width)),
    (begin, end) => {
      for (let y = begin; y < end; y++) {
        const row = Math.min(Math.floor(y * stepY), height - 1) * width;
        for (let x = 0; x < size.width; x++) out[y * size.width + x] = data[row + (columns[x] as number)] as number;
      }
    },
    signal,
  );
  return { ...size, data: out };
}
