/** `wordmask convert model.pth model.safetensors`: a PyTorch checkpoint, read as data, written as safetensors. */
import { stat } from 'node:fs/promises';
import { keyMap } from '../../registry/key-maps.js';
import { show, WordmaskError } from '../../util/errors.js';
import { convertTorch, openTorch } from '../../weights/index.js';
import { exit } from '../exit-codes.js';
import { Progress } from '../progress.js';
import type { Context } from '../run.js';
import { textOption } from '../setup.js';

/** Files that hold weights, by their names. */
export function isCheckpoint(path: string): boolean {
  return /\.(pt|pth|bin|ckpt|pkl|tar)$/i.test(path);
}

export async function convertWeights({ args, options, output, interrupt }: Context): Promise<number> {
  const [input = '', target = ''] = args;
  if (!target.endsWith('.safetensors'))
    throw new WordmaskError('E_USAGE', `a checkpoint is converted to NAME.safetensors, got ${show(target)}`);
  const named = textOption(options, 'map');
  const map = named === undefined ? undefined : keyMap(named);
  if (!options.overwrite && (await stat(target).catch(() => undefined)))
    throw new WordmaskError('E_USAGE', `${show(target)} exists already: choose another name or give --overwrite`);
  const { signal } = interrupt;
  const file = await openTorch(input, { signal });
  if (!file) throw new WordmaskError('E_USAGE', `${show(input)} is no PyTorch file but safetensors already`);
  const progress = new Progress(output, file.stored.size, 'tensors');
  try {
    const onProgress = (done: number, _total: number, name: string): void => progress.update(done, name);
    const { tensors, dropped, unwritable } = await convertTorch(file, target, { map, signal, onProgress });
    progress.end();
    if (output.json) output.value({ input, outputs: [target], tensors, dropped, unwritable });
    else output.line(target);
    for (const name of unwritable)
      output.warn(`tensor ${show(name)} is of 128-bit complex numbers, which safetensors does not have: left out`);
    output.note(`${tensors.length} tensors${dropped.length > 0 ? `, ${dropped.length} left out by the key map` : ''}`);
    return exit.done;
  } finally {
    progress.end();
    await file.close();
  }
}
