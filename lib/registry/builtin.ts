/** Models that are named without a path or a hub id: those that come with the package. */
import { assetPath } from '../util/assets.js';
import { WordmaskError } from '../util/errors.js';
import { type ModelFolder, readModelFolder } from './folder.js';

/** Our list, as `parseModelName` takes it: null for a model of the package, else the name that an alias stands for. */
export const modelNames: ReadonlyMap<string, string | null> = new Map([
  ['tiny', null],
  ['tiny-cls', null],
]);

/** Taken where no model is named. */
export const defaultModel = 'tiny';

/** @throws E_MODEL_NOT_FOUND when the installation lacks it, else as reading a model folder */
export async function builtinModel(name: string, signal?: AbortSignal): Promise<ModelFolder> {
  const folder = assetPath(`models/${name}`);
  try {
    return await readModelFolder(folder, { signal });
  } catch (error) {
    if (!(error instanceof WordmaskError) || error.code !== 'E_MODEL_NOT_FOUND') throw error;
    throw new WordmaskError(
      'E_MODEL_NOT_FOUND',
      `the built-in model '${name}' is not where it should be, ${folder}: install wordmask again, or name another model`,
      { cause: error, details: { value: name, folder } },
    );
  }
}
