/** From what a user calls a model to a checked folder. */
import { resolve } from 'node:path';
import { WordmaskError } from '../util/errors.js';
import { builtinModel, modelNames } from './builtin.js';
import { type ModelFolder, readModelFolder } from './folder.js';
import { findSnapshot } from './hub-cache.js';
import { parseModelName } from './names.js';

export interface ResolveOptions {
  readonly systems: readonly string[];
  readonly system?: string;
  readonly cacheDir?: string;
  readonly revision?: string;
  readonly download?: boolean;
  readonly offline?: boolean;
  readonly signal?: AbortSignal;
  readonly onProgress?: (done: number, total: number) => void;
  readonly onLog?: (message: string, level: 'info' | 'warning') => void;
}

export interface ResolvedModel {
  readonly folder: ModelFolder;
  /** System of the name, the option, or the folder's wordmask.json. */
  readonly system: string | undefined;
  /** The folder with the frozen encoder, where the model's own holds trained parts alone. */
  readonly base?: ModelFolder;
}

/** @throws E_MODEL_ID, E_MODEL_NOT_FOUND, E_MODEL_FORMAT, E_PICKLE_FORBIDDEN, E_OFFLINE, E_NETWORK */
export async function resolveModel(name: string, options: ResolveOptions): Promise<ResolvedModel> {
  const parsed = parseModelName(name, {
    systems: options.systems,
    names: modelNames,
    system: options.system,
  });
  const folder = await locate(parsed.weights, options);
  const system = parsed.system ?? folder.manifest.system;
  if (!folder.manifest.base) return { folder, system };
  return { folder, system, base: await locateBase(folder, folder.manifest.base.model, options) };
}

/** A path in wordmask.json is one from that file's folder. */
async function locateBase(folder: ModelFolder, model: string, options: ResolveOptions): Promise<ModelFolder> {
  try {
    const { weights } = parseModelName(model, { systems: [] });
    return await locate(
      weights.kind === 'path' ? { kind: 'path', path: resolve(folder.path, weights.path) } : weights,
      options,
    );
  } catch (error) {
    if (!(error instanceof WordmaskError)) throw error;
    throw new WordmaskError(
      error.code,
      `${folder.path} holds parts trained beside the frozen model '${model}': ${error.message}`,
      {
        cause: error,
        details: { ...error.details, base: model },
      },
    );
  }
}

async function locate(
  weights: ReturnType<typeof parseModelName>['weights'],
  options: ResolveOptions,
): Promise<ModelFolder> {
  const { signal, onLog } = options;
  const onWarn = onLog && ((message: string) => onLog(message, 'warning'));
  if (weights.kind === 'path') return readModelFolder(weights.path, { signal, onWarn });
  if (weights.kind === 'builtin') return builtinModel(weights.name, signal);
  const revision = weights.revision ?? options.revision;
  try {
    const snapshot = await findSnapshot(weights.id, { revision, cacheDir: options.cacheDir });
    return await readModelFolder(snapshot.folder, { root: snapshot.root, signal });
  } catch (error) {
    if (!(error instanceof WordmaskError) || error.code !== 'E_MODEL_NOT_FOUND' || !options.download) throw error;
    const { pullModel } = await import('./pull.js');
    const pulled = await pullModel(weights.id, { revision, cacheDir: options.cacheDir, signal });
    return readModelFolder(pulled.folder, { root: pulled.root, signal });
  }
}
