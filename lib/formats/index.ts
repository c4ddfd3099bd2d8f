/** All label formats by name, and the calls that write, read, save and convert with them. */
import { readdir } from 'node:fs/promises';
import { basename, dirname, extname, join } from 'node:path';
import { show, WordmaskError } from '../util/errors.js';
import { readFileLimited, writeFileAtomic } from '../util/files.js';
import { nearest } from '../util/nearest.js';
import { ade } from './ade.js';
import { coco } from './coco.js';
import { cocoPanoptic } from './coco-panoptic.js';
import { cvat } from './cvat.js';
import type { FormatFile, LabelFormat, LabelResult, ReadOptions, WriteOptions } from './format.js';
import { geojson } from './geojson.js';
import { hf } from './hf.js';
import { labelstudio } from './labelstudio.js';
import { npy } from './npy.js';
import { overlay } from './overlay.js';
import { png } from './png.js';
import { polygons } from './polygons.js';
import { rgb } from './rgb.js';
import { safetensors } from './safetensors.js';
import { svg } from './svg.js';
import { voc } from './voc.js';

const all: readonly LabelFormat[] = [
  png,
  voc,
  ade,
  rgb,
  overlay,
  coco,
  cocoPanoptic,
  hf,
  npy,
  safetensors,
  polygons,
  svg,
  geojson,
  labelstudio,
  cvat,
];

export const formatNames: readonly string[] = all.map(({ name }) => name);

/** The format of that name. Throws E_OPTION with the nearest name. */
export function labelFormat(name: string): LabelFormat {
  const found = all.find((format) => format.name === name);
  if (found) return found;
  const close = typeof name === 'string' ? nearest(name, formatNames) : undefined;
  throw new WordmaskError(
    'E_OPTION',
    `format must be one of ${formatNames.join(', ')}, got ${show(name)}${close ? `; did you mean ${close}?` : ''}`,
    { details: { option: 'format', allowed: formatNames } },
  );
}

/** The files of a result in a format; a single file is named `<stem><extension>`. */
export async function writeLabels(
  format: string,
  result: LabelResult,
  options: WriteOptions = {},
): Promise<FormatFile[]> {
  const chosen = labelFormat(format);
  const stem = options.stem ?? 'labels';
  const written = await chosen.write(result, { ...options, stem });
  return written instanceof Uint8Array ? [{ name: `${stem}${chosen.extension}`, bytes: written }] : written;
}

/** A result from a format's files. Throws E_OPTION for formats that cannot be read. */
export async function readLabels(
  format: string,
  input: Uint8Array | readonly FormatFile[],
  options: ReadOptions = {},
): Promise<LabelResult> {
  const chosen = labelFormat(format);
  if (!chosen.read) {
    const readable = all.filter(({ read }) => read).map(({ name }) => name);
    throw new WordmaskError(
      'E_OPTION',
      `${format} cannot be read back, because its colours are mixed with the picture; readable are ${readable.join(', ')}`,
    );
  }
  return chosen.read(input, options);
}

/**
 * Writes a result beside or over what is there, each file through a temporary name. Returns the paths, the main one
 * first. The extension of `path` may be left out.
 */
export async function saveLabels(
  path: string,
  result: LabelResult,
  options: WriteOptions & { format?: string } = {},
): Promise<string[]> {
  const format = options.format ?? formatOfPath(path);
  const { extension } = labelFormat(format);
  const stem =
    extname(path).toLowerCase() === extension || isOtherPart(path, format)
      ? basename(path, extname(path))
      : basename(path);
  const paths: string[] = [];
  for (const { name, bytes } of await writeLabels(format, result, { ...options, stem })) {
    const target = join(dirname(path), name);
    await writeFileAtomic(target, bytes, { signal: options.signal });
    paths.push(target);
  }
  return paths;
}

/** Reads a result from disk, with the files that belong to it (the PNG beside a panoptic JSON). */
export async function loadLabels(path: string, options: ReadOptions & { format?: string } = {}): Promise<LabelResult> {
  const format = options.format ?? formatOfPath(path);
  const limit = 2 ** 31;
  const main = {
    name: basename(path),
    bytes: await readFileLimited(path, { limit, code: 'E_USAGE', signal: options.signal }),
  };
  if (format !== 'coco-panoptic') return readLabels(format, main.bytes, options);
  const folder = dirname(path);
  const stem = basename(path, extname(path));
  const beside = (await readdir(folder)).filter(
    (name) => name !== main.name && (name === `${stem}.png` || name === `${stem}.json`),
  );
  const rest = await Promise.all(
    beside.map(async (name) => ({
      name,
      bytes: await readFileLimited(join(folder, name), { limit, code: 'E_USAGE', signal: options.signal }),
    })),
  );
  return readLabels(format, [main, ...rest], options);
}

/** A panoptic result may be named by its PNG. */
function isOtherPart(path: string, format: string): boolean {
  return format === 'coco-panoptic' && extname(path).toLowerCase() === '.png';
}

/** The plain format of an extension: png (which reads label TIFFs), coco, npy or safetensors. */
function formatOfPath(path: string): string {
  const byExtension: Record<string, string> = {
    '.png': 'png',
    '.tif': 'png',
    '.tiff': 'png',
    '.json': 'coco',
    '.npy': 'npy',
    '.safetensors': 'safetensors',
  };
  const format = byExtension[extname(path).toLowerCase()];
  if (!format)
    throw new WordmaskError(
      'E_OPTION',
      `the format of ${show(path)} cannot be told from its extension: pass format, one of ${formatNames.join(', ')}`,
    );
  return format;
}
