/** Raw PASCAL Context to label files: MAT files to 459 classes, the merged JSON to 60 (evaluation.md section 8). */
import { basename, join } from 'node:path';
import { segmentationMask } from '../../formats/coco.js';
import { isObject } from '../../formats/json.js';
import { checkImageSize, imageLimits } from '../../image/limits.js';
import { paintMask } from '../../image/mask.js';
import { writePng } from '../../image/png.js';
import { writeTiff } from '../../image/tiff-writer.js';
import { readAssetJson } from '../../util/assets.js';
import { isWordmaskError, show, WordmaskError } from '../../util/errors.js';
import { readFileLimited, sha256 } from '../../util/files.js';
import { filesBelow } from '../../util/folder.js';
import { readJsonStream } from '../../util/json-stream.js';
import { inSlices, Slices } from '../../util/slices.js';
import type { ConversionChoices, ConversionTask, OwnConversion } from '../types/conversion.js';
import { readMatMatrix } from './mat.js';

const classCount459 = 459;
const void16 = 65_535;

export const contextToMaps459: OwnConversion = {
  kind: 'pc459',
  form: 'own',
  input: 'folder',
  text: 'PASCAL Context .mat files (LabelMap) -> 16-bit label maps of 459 classes',
  async tasks(input, { type, signal }) {
    const names = (await filesBelow(input, signal)).filter((name) => name.toLowerCase().endsWith('.mat'));
    return names.map((name) => {
      const path = join(input, name);
      return {
        name,
        inputs: [path],
        outputs: [`${name.slice(0, -4)}.${type}`],
        convert: async (abort) => [await convertMat(path, type, abort)],
      };
    });
  },
};

/** LabelMap 1..459 to 0..458; 0 is not labelled. */
async function convertMat(path: string, type: ConversionChoices['type'], signal?: AbortSignal): Promise<Uint8Array> {
  const bytes = await readFileLimited(path, { limit: imageLimits().fileBytes, signal });
  const { width, height, at } = await readMatMatrix(bytes, 'LabelMap', signal);
  const data = new Uint16Array(width * height);
  const strange = new Map<number, number>();
  await inSlices(
    height,
    Math.max(1, Math.floor((1 << 16) / width)),
    (begin, end) => {
      for (let y = begin; y < end; y++)
        for (let x = 0; x < width; x++) {
          const value = at(x, y);
          if (Number.isInteger(value) && value >= 0 && value <= classCount459)
            data[y * width + x] = value === 0 ? void16 : value - 1;
          else strange.set(value, (strange.get(value) ?? 0) + 1);
        }
    },
    signal,
  );
  if (strange.size > 0) {
    const shown = [...strange].slice(0, 8).map(([value, count]) => `${value} (${count} pixels)`);
    throw new WordmaskError('E_IMAGE_FORMAT', `LabelMap holds values beyond 0..${classCount459}: ${shown.join(', ')}`, {
      details: { values: [...strange].slice(0, 256).map(([value, count]) => ({ value, count })) },
    });
  }
  return type === 'tif'
    ? writeTiff({ width, height, data }, { signal })
    : writePng({ width, height, kind: 'grey', data }, { signal });
}

export const contextToMaps60: OwnConversion = {
  kind: 'pc60',
  form: 'own',
  input: 'file',
  text: 'trainval_merged.json of PASCAL Context -> label PNGs of 60 classes, train.txt and val.txt',
  tasks: (input, { signal }) => tasksOfJson(input, signal),
};

interface JsonPicture {
  readonly name: string;
  readonly phase: string;
  readonly width: number;
  readonly height: number;
}

interface Region {
  /** Class index of 60. */
  readonly index: number;
  readonly segmentation: unknown;
}

async function tasksOfJson(path: string, signal?: AbortSignal): Promise<ConversionTask[]> {
  const pictures = new Map<unknown, JsonPicture>();
  const regions = new Map<unknown, Region[]>();
  const indexOf = indices60();
  const stems = new Set<string>();
  for await (const { key, value, index } of readJsonStream(path, {
    arrays: ['images', 'annos_segmentation'],
    signal,
  })) {
    if (key === 'images') {
      const { id, picture } = pictureOf(value, `${path}: images[${index}]`);
      if (pictures.has(id) || stems.has(picture.name))
        throw bad(`${path}: image ${show(id)} (${picture.name}) is listed twice`);
      pictures.set(id, picture);
      stems.add(picture.name);
      continue;
    }
    if (!isObject(value) || !Number.isInteger(value.category_id) || value.image_id === undefined)
      throw bad(`${path}: annos_segmentation[${index}] needs image_id, category_id and segmentation`);
    const region = { index: indexOf.get(value.category_id as number) ?? 0, segmentation: value.segmentation };
    const list = regions.get(value.image_id);
    if (list) list.push(region);
    else regions.set(value.image_id, [region]);
  }
  if (pictures.size === 0) throw bad(`${path} lists no images: it is no trainval_merged.json`);
  const strange = [...regions.keys()].filter((id) => !pictures.has(id));
  if (strange.length > 0)
    throw bad(`${path} annotates ${strange.length} images that it does not list, such as ${show(strange[0])}`);
  return [...[...pictures].map(([id, picture]) => pictureTask(picture, regions.get(id) ?? [])), listTask(pictures)];
}

const bad = (problem: string): WordmaskError => new WordmaskError('E_IMAGE_FORMAT', problem);

/** 459 ids to class indices of 60. Ids that are not among the 59 are background. */
function indices60(): ReadonlyMap<number, number> {
  const rows = readAssetJson<{ id459: number; index60: number }[]>('classes/context59-ids.json');
  return new Map(rows.map(({ id459, index60 }) => [id459, index60]));
}

function pictureOf(value: unknown, where: string): { id: unknown; picture: JsonPicture } {
  const { image_id: id, file_name: file, phase, width, height } = isObject(value) ? value : {};
  if (id === undefined || typeof file !== 'string' || !/^[^/\\]+\.[a-z]+$/i.test(file) || typeof phase !== 'string')
    throw bad(`${where} needs image_id, file_name without folders, phase, width and height`);
  checkImageSize(width as number, height as number, imageLimits(), `${where} (${file})`);
  const name = basename(file).replace(/\.[a-z]+$/i, '');
  return { id, picture: { name, phase, width: width as number, height: height as number } };
}

function pictureTask({ name, width, height }: JsonPicture, regions: readonly Region[]): ConversionTask {
  return {
    name,
    inputs: [],
    content: sha256(JSON.stringify([width, height, regions])),
    outputs: [`${name}.png`],
    async convert(signal) {
      const data = new Uint8Array(width * height);
      const slices = new Slices(signal);
      // Later entries overwrite earlier ones; the rest is 0.
      for (const [i, { index, segmentation }] of regions.entries()) {
        paintMask(data, maskOf(segmentation, width, height, i), index);
        if (slices.due) await slices.pause();
      }
      return [await writePng({ width, height, kind: 'grey', data }, { signal })];
    },
  };
}

function maskOf(segmentation: unknown, width: number, height: number, i: number) {
  try {
    return segmentationMask(segmentation, width, height);
  } catch (cause) {
    if (!isWordmaskError(cause)) throw cause;
    throw new WordmaskError('E_IMAGE_FORMAT', `annotation ${i} of this image: ${cause.message}`, { cause });
  }
}

/** The lists that the loader reads: names of each phase, in the JSON's order. */
function listTask(pictures: ReadonlyMap<unknown, JsonPicture>): ConversionTask {
  const phases = new Map<string, string[]>();
  for (const { name, phase } of pictures.values()) {
    if (!/^[a-z0-9_-]{1,32}$/i.test(phase))
      throw bad(`image ${name} has phase ${show(phase)}, which cannot name a list`);
    phases.set(phase, [...(phases.get(phase) ?? []), name]);
  }
  const lists = [...phases].map(([phase, names]) => [`${phase}.txt`, `${names.join('\n')}\n`] as const);
  return {
    name: 'lists',
    inputs: [],
    content: JSON.stringify(lists),
    outputs: lists.map(([file]) => file),
    convert: async () => lists.map(([, text]) => Buffer.from(text)),
  };
}
