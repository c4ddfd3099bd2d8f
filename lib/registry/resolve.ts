/** From what a user calls a model to a checked folder. */
import { WordmaskError } from '../util/errors.js';
import { findBase } from './base.js';
import { builtinModel, modelNames } from './builtin.js';
import { type ModelFolder, readModelFolder } from './folder.js';
import { findSnapshot } from './hub-cache.js';
import { parseModelName, type Weights } from './names.js';

export interface ResolveOptions {
  readonly systems: readonly string[];
  readonly system?: string;
  /** The frozen model beside a folder of trained parts, where it is not at the place that the folder names. */
  readonly base?: string;
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
  /** What the name stands for. */
  readonly weights: Weights;
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
  const base = await locateBase(folder, options);
  return { folder, weights: parsed.weights, system, ...(base && { base }) };
}

/** A path in wordmask.json is one from that file's folder. @throws what the base cannot be opened for, saying what it is needed for */
async function locateBase(folder: ModelFolder, options: ResolveOptions): Promise<ModelFolder | undefined> {
  const { base } = folder.manifest;
  if (!base) {
    if (options.base === undefined) return undefined;
    throw new WordmaskError(
      'E_OPTION',
      `base: ${folder.path} is whole and has no frozen model beside it: leave it out`,
      {
        details: { option: 'base', folder: folder.path },
      },
    );
  }
  const names = { systems: options.systems, names: modelNames };
  try {
    const { weights } = parseModelName(options.base ?? base.model, names);
    if (options.base !== undefined || weights.kind !== 'path') return await locate(weights, options);
    const path = await findBase(folder.path, weights.path, base.sha256 !== undefined);
    return await locate({ kind: 'path', path }, options);
  } catch (error) {
    if (!(error instanceof WordmaskError)) throw error;
    const hash = base.sha256 === undefined ? '' : `, weights with SHA-256 ${base.sha256}`;
    const advice = options.base === undefined ? `; put it back or say where it is: ${baseAdvice}` : '';
    throw new WordmaskError(
      error.code,
      `${folder.path} holds parts trained beside the frozen model '${base.model}'${hash}: ${error.message}${advice}`,
      { cause: error, details: { ...error.details, base: base.model, sha256: base.sha256 } },
    );
  }
}

/** How a user names the frozen model. */
export const baseAdvice = "--base ./clip, open(model, { base: './clip' })";

async function locate(weights: Weights, options: ResolveOptions): Promise<ModelFolder> {
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
