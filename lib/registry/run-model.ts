/** A run folder as a model: its newest whole checkpoint. */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { findCheckpoint, listCheckpoints } from '../weights/checkpoint.js';

/**
 * The folder itself, or for the output folder of a training run its newest whole checkpoint.
 * @param onWarn told of newer checkpoints that are damaged and passed over
 * @throws E_CHECKPOINT when the run has checkpoints and none is whole
 */
export async function modelFolderOf(
  folder: string,
  options: { readonly signal?: AbortSignal; readonly onWarn?: (message: string) => void },
): Promise<string> {
  const own = await Promise.all(
    ['config.json', 'wordmask.json'].map((name) => stat(join(folder, name)).catch(() => null)),
  );
  if (own.some((info) => info !== null) || (await listCheckpoints(folder)).length === 0) return folder;
  return (await findCheckpoint(folder, options))?.folder ?? folder;
}
