/** The parts that COCO's annotation files share: the list of pictures, and what stands in each annotation. */
import { basename } from 'node:path';
import { isObject, type JsonObject } from '../../formats/json.js';
import { show } from '../../util/errors.js';
import { readJsonStream } from '../../util/json-stream.js';
import type { Problems } from './problems.js';

export interface JsonImage {
  readonly imageId: number | string;
  readonly file: string;
  readonly width: number;
  readonly height: number;
}

export interface CocoJson {
  /** In file order, by image id. */
  readonly images: ReadonlyMap<number | string, JsonImage>;
  readonly categories: readonly unknown[];
}

export const isId = (value: unknown): value is number | string =>
  typeof value === 'string' || (Number.isSafeInteger(value) as boolean);
const isSide = (value: unknown): value is number => Number.isInteger(value) && (value as number) > 0;
/** A plain file name: no folder, nothing that leads out of one. */
export const isFileName = (value: unknown): value is string =>
  typeof value === 'string' && value !== '' && value !== '..' && basename(value) === value && !value.includes('\\');

/**
 * Reads a file of `images`, `annotations` and `categories`; annotations go to `onAnnotation` as they come and are not kept.
 * @throws E_IMAGE_FORMAT where the file is no such JSON, E_DISK
 */
export async function readCocoJson(
  path: string,
  onAnnotation: (annotation: JsonObject) => void,
  problems: Problems,
  signal?: AbortSignal,
): Promise<CocoJson> {
  const images = new Map<number | string, JsonImage>();
  const names = new Set<string>();
  const twice: string[] = [];
  let categories: readonly unknown[] = [];
  const options = { arrays: ['images', 'annotations'], values: ['categories'], signal };
  for await (const { key, value, index } of readJsonStream(path, options)) {
    if (key === 'categories') categories = Array.isArray(value) ? value : [];
    else if (!isObject(value)) problems.add(`${path}: ${key}[${index}] is ${show(value)}, not an object`);
    else if (key === 'annotations') onAnnotation(value);
    else {
      const { id, file_name: file, width, height } = value;
      if (!isId(id) || !isFileName(file) || !isSide(width) || !isSide(height)) {
        problems.add(`${path}: images[${index}] needs id, file_name without folders, width and height`);
        continue;
      }
      // Names without their ending: they become the ids of the data set.
      if (images.has(id) || names.has(stemOf(file))) twice.push(`${show(id)} (${file})`);
      names.add(stemOf(file));
      images.set(id, { imageId: id, file, width, height });
    }
  }
  problems.addMany(`${path} lists ${twice.length} images more than once`, twice);
  return { images, categories };
}

/** File name without its ending. */
export function stemOf(file: string): string {
  const dot = file.lastIndexOf('.');
  return dot > 0 ? file.slice(0, dot) : file;
}
