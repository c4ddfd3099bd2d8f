/** From a model's name to the folder that holds it: a path, or a snapshot in the Hugging Face cache. */
import { type FolderOptions, type ModelFolder, readModelFolder } from './folder.js';
import { findSnapshot } from './hub-cache.js';
import type { Weights } from './names.js';
import { type PullOptions, pullModel } from './pull.js';

export interface ResolveOptions {
  cacheDir?: string;
  /** Revision where the name has none. */
  revision?: string;
  /** Fetch a model that is not in the cache (default false: nothing touches the network). */
  download?: boolean;
  signal?: AbortSignal;
  onProgress?: PullOptions['onProgress'];
}

/** The folder of weights that were found. */
export interface FoundModel extends ModelFolder {
  /** Where it came from, when it is the hub's. */
  readonly hub?: { readonly id: string; readonly commit: string };
}

/**
 * @param weights a path or a hub id; built-in ones are resolved by the caller
 * @throws E_MODEL_NOT_FOUND saying where it was looked for and how to fetch it; as `readModelFolder` and, with `download`, `pullModel`
 */
export async function findModel(
  weights: Exclude<Weights, { kind: 'builtin' }>,
  options: ResolveOptions = {},
): Promise<FoundModel> {
  const folderOptions: FolderOptions = { signal: options.signal };
  if (weights.kind === 'path') return readModelFolder(weights.path, folderOptions);
  const revision = weights.revision ?? options.revision;
  const place = { revision, cacheDir: options.cacheDir };
  const { folder, root, id, commit } = options.download
    ? await findSnapshot(weights.id, place).catch(() =>
        pullModel(weights.id, { ...place, signal: options.signal, onProgress: options.onProgress }),
      )
    : await findSnapshot(weights.id, place);
  return { ...(await readModelFolder(folder, { ...folderOptions, root })), hub: { id, commit } };
}
