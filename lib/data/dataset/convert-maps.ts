/** Conversions that go file by file: label maps through a value table, and panoptic PNGs to class indices. */
import { dirname, join } from 'node:path';
import { writePng } from '../../image/png.js';
import { WordmaskError } from '../../util/errors.js';
import { filesBelow } from '../../util/folder.js';
import type { ConversionTask, MapConversion, PanopticConversion } from '../types/conversion.js';
import { LabelReader } from './label-file.js';
import { grouped } from './listing.js';
import { panopticItem, readPanoptic } from './panoptic.js';
import { Problems } from './problems.js';

const unlabelled = 255;

export async function mapTasks(
  { from, except, to, stored, classCount }: MapConversion,
  input: string,
  signal?: AbortSignal,
): Promise<readonly ConversionTask[]> {
  const names = await filesBelow(input, signal);
  const classes = Array.from({ length: classCount }, (_, i) => ({ name: String(i), prompts: [] }));
  const reader = new LabelReader(stored(), classes);
  const { files } = await grouped(input, names, [from], except, signal);
  return [...files].map(([stem, path]) => ({
    name: `${stem}${from}`,
    inputs: [path],
    outputs: [`${stem}${to}`],
    async convert(abort) {
      const { width, height, data } = await reader.read(path, abort);
      return [await writePng({ width, height, kind: 'grey', data }, { signal: abort })];
    },
  }));
}

/** Pictures are not needed: every annotation whose PNG is there becomes a label map of its name. */
export async function panopticTasks(
  { kind, categoryIds }: PanopticConversion,
  json: string,
  signal?: AbortSignal,
): Promise<readonly ConversionTask[]> {
  const problems = new Problems(kind);
  const ids = categoryIds();
  const list = (folder: string): Promise<readonly string[]> => filesBelow(folder, signal);
  const options = { categoryIds: ids, problems, signal, picturesApart: true };
  const { pictures, missing } = await readPanoptic(json, { folder: dirname(json), files: new Set() }, list, options);
  problems.throwIfAny();
  if (pictures.length === 0)
    throw new WordmaskError('E_IMAGE_FORMAT', `${json} lists no picture with a PNG (${missing.length} without)`);
  return pictures.map((picture) => {
    const item = panopticItem(picture, ids, unlabelled);
    return {
      name: picture.id,
      inputs: [picture.truth],
      content: JSON.stringify(picture.segments),
      outputs: [`${picture.id}.png`],
      async convert(abort) {
        const { width, height, data } = await item.label(abort);
        return [await writePng({ width, height, kind: 'grey', data }, { signal: abort })];
      },
    };
  });
}

/** Path of an output below a folder; outputs of a task have plain relative names. */
export function outputPath(folder: string, output: string): string {
  return join(folder, ...output.split('/'));
}
