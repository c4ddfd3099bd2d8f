/** `wordmask data ...`: drawn scenes as a folder of pictures, label maps and captions; raw data sets to label files. */

import { convertDataset } from '../../data/dataset.js';
import type { SceneSize } from '../../data/drawn-scenes/index.js';
import { splitOf, splitSeeds } from '../../data/drawn-scenes/index.js';
import { writeScenes } from '../../data/drawn-scenes/write.js';
import { type ErrorCode, show, WordmaskError } from '../../util/errors.js';
import { exit } from '../exit-codes.js';
import { Interrupted } from '../interrupt.js';
import { Progress } from '../progress.js';
import type { Context } from '../run.js';
import { textOption } from '../setup.js';

/** A manifest of more scenes than this is no folder one wants to have; train reads them from the generator. */
const mostScenes = 1_000_000;

export async function dataDraw({ options, output, interrupt }: Context): Promise<number> {
  const folder = textOption(options, 'out');
  if (folder === undefined || folder === '-')
    throw new WordmaskError('E_USAGE', 'data draw writes a folder of files: name it with --out DIR');
  const split = splitOf(textOption(options, 'split') ?? 'test');
  const count = (options.count as number | undefined) ?? 10;
  const begin = (options.seed as number | undefined) ?? 0;
  if (!Number.isSafeInteger(count) || count < 1 || count > mostScenes)
    throw new WordmaskError('E_OPTION', `count must be a whole number from 1 to ${mostScenes}, got ${show(count)}`);
  const seeds = splitSeeds(split.name, count, begin);
  const size = parseSize(textOption(options, 'sceneSize'));
  const progress = new Progress(output, count, 'scenes');
  const paths = await writeScenes(folder, seeds, {
    scene: size && { size },
    captions: options.captions as number | undefined,
    overwrite: options.overwrite === true,
    signal: interrupt.signal,
    onScene: (name) => progress.step(name),
  });
  progress.end();
  if (output.json)
    output.value({
      folder,
      split: split.name,
      count,
      first: begin,
      classes: 'classes.json',
      captions: 'captions.jsonl',
      images: paths,
    });
  else output.line(folder);
  output.note(`${count} scene${count === 1 ? '' : 's'} of split ${split.name}`);
  return exit.done;
}

/** `96` or `192x128`. @throws E_OPTION */
export function parseSize(text: string | undefined): SceneSize | undefined {
  if (text === undefined) return undefined;
  const match = /^(\d{1,5})(?:x(\d{1,5}))?$/.exec(text);
  if (!match) throw new WordmaskError('E_OPTION', `size must be a number of pixels or WIDTHxHEIGHT, got ${show(text)}`);
  return { width: Number(match[1]), height: Number(match[2] ?? match[1]) };
}

export async function dataConvert({ args, options, output, interrupt }: Context): Promise<number> {
  const [kind = '', input = '', folder = ''] = args;
  let progress: Progress | undefined;
  let finished = 0;
  try {
    const { written, kept, failed } = await convertDataset(kind, input, folder, {
      type: options.mapType as 'tif' | 'png' | undefined,
      overwrite: options.overwrite === true,
      onError: options.onError as 'stop' | 'skip' | undefined,
      signal: interrupt.signal,
      onProgress: (done, total, name) => {
        progress ??= new Progress(output, total, 'files');
        progress.update((finished = done), name);
      },
    });
    progress?.end();
    for (const { name, code, message } of failed)
      output.error(new WordmaskError(code as ErrorCode, message), { file: name });
    if (output.json) output.value({ kind, folder, written, kept, failed });
    else output.line(folder);
    output.note(`${written} file${written === 1 ? '' : 's'} written, ${kept} there and right, ${failed.length} failed`);
    return failed.length > 0 ? exit.some : exit.done;
  } catch (error) {
    progress?.end();
    if (error instanceof Interrupted) output.note(`${finished} done; the same call goes on from there`);
    throw error;
  }
}
