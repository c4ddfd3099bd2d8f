/** The tensors of a model: one safetensors file, several named by `model.safetensors.index.json`, or a PyTorch zip checkpoint. */
import { dirname, join } from 'node:path';
import { show, WordmaskError } from '../util/errors.js';
import { readFileLimited } from '../util/files.js';
import { parseJsonStrict } from '../util/json.js';
import { openTorch } from './pickle.js';
import { type OpenOptions, openSafetensors, type SafetensorsFile, type TensorEntry } from './safetensors.js';
import type { TensorFile } from './tensor-file.js';

export interface LocatedTensor {
  readonly file: TensorFile;
  readonly entry: TensorEntry;
}

/** Tensors by name over all files of a model. Close it when the tensors are mapped or read. */
export class WeightSet {
  readonly tensors: ReadonlyMap<string, LocatedTensor>;

  constructor(
    readonly path: string,
    readonly files: readonly TensorFile[],
    tensors: ReadonlyMap<string, LocatedTensor>,
  ) {
    this.tensors = tensors;
  }

  /** Bytes of all tensors together. */
  get bytes(): number {
    let bytes = 0;
    for (const { entry } of this.tensors.values()) bytes += entry.end - entry.begin;
    return bytes;
  }

  async close(): Promise<void> {
    await Promise.all(this.files.map((file) => file.close()));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

const indexLimit = 64 << 20;

/**
 * Opens a weights file: `*.safetensors`, `*.safetensors.index.json` with its shards beside it, or a PyTorch checkpoint of the zip
 * form, which is read as data.
 * @throws E_WEIGHTS (all missing shards and keys listed), E_PICKLE_FORBIDDEN for PyTorch files that need code, E_DISK
 */
export async function openWeights(path: string, options: OpenOptions = {}): Promise<WeightSet> {
  if (path.endsWith('.json')) return openSharded(path, options);
  const torch = /\.(pt|pth|bin|ckpt|pkl|tar)$/i.test(path) ? await openTorch(path, options) : undefined;
  const file = torch ?? (await openSafetensors(path, options));
  const tensors = new Map<string, LocatedTensor>();
  for (const [name, entry] of file.tensors) tensors.set(name, { file, entry });
  return new WeightSet(path, [file], tensors);
}

async function openSharded(path: string, options: OpenOptions): Promise<WeightSet> {
  const weightMap = readWeightMap(
    path,
    await readFileLimited(path, { ...options, limit: indexLimit, code: 'E_WEIGHTS' }),
  );
  const files = new Map<string, SafetensorsFile>();
  const problems: string[] = [];
  try {
    for (const shard of new Set(weightMap.values())) {
      try {
        files.set(shard, await openSafetensors(join(dirname(path), shard), options));
      } catch (error) {
        if (!(error instanceof WordmaskError) || error.details.errno !== 'ENOENT') throw error;
        problems.push(`the shard ${show(shard)} is missing`);
      }
    }
    const tensors = locate(weightMap, files, problems);
    if (problems.length > 0) {
      throw new WordmaskError(
        'E_WEIGHTS',
        `${path}: ${problems.slice(0, 200).join('; ')}${problems.length > 200 ? `; and ${problems.length - 200} more` : ''}. Fetch the model again`,
        { details: { file: path, problems } },
      );
    }
    return new WeightSet(path, [...files.values()], tensors);
  } catch (error) {
    await Promise.all([...files.values()].map((file) => file.close()));
    throw error;
  }
}

/** name -> shard, with shard names that are plain file names: an index must not reach outside its folder. */
function readWeightMap(path: string, bytes: Uint8Array): Map<string, string> {
  const index = parseJsonStrict(bytes, { code: 'E_WEIGHTS', what: path }) as { weight_map?: unknown } | null;
  const map =
    typeof index === 'object' && index !== null && Object.hasOwn(index, 'weight_map') ? index.weight_map : undefined;
  if (typeof map !== 'object' || map === null || Array.isArray(map)) {
    throw new WordmaskError('E_WEIGHTS', `${path}: needs an object "weight_map" of tensor name to file name`, {
      details: { file: path },
    });
  }
  const entries = Object.entries(map as Record<string, unknown>);
  for (const [name, shard] of entries) {
    if (typeof shard !== 'string' || !/^[A-Za-z0-9_][A-Za-z0-9._-]{0,250}\.safetensors$/.test(shard)) {
      throw new WordmaskError(
        'E_WEIGHTS',
        `${path}: tensor ${show(name)} is said to be in ${show(shard)}; a shard is a file NAME.safetensors in the same folder (letters, digits, ".", "_", "-")`,
        { details: { file: path, tensor: name, value: shard } },
      );
    }
  }
  return new Map(entries as [string, string][]);
}

function locate(
  weightMap: ReadonlyMap<string, string>,
  files: ReadonlyMap<string, SafetensorsFile>,
  problems: string[],
): Map<string, LocatedTensor> {
  const tensors = new Map<string, LocatedTensor>();
  for (const [name, shard] of weightMap) {
    const file = files.get(shard);
    const entry = file?.tensors.get(name);
    if (file && entry) tensors.set(name, { file, entry });
    else if (file) problems.push(`the shard ${show(shard)} lacks the tensor ${show(name)}`);
  }
  for (const [shard, file] of files) {
    for (const name of file.tensors.keys()) {
      const owner = weightMap.get(name);
      if (owner === undefined)
        problems.push(`the shard ${show(shard)} holds the tensor ${show(name)}, which the index does not name`);
      else if (owner !== shard)
        problems.push(`the tensor ${show(name)} is in the shard ${show(shard)} and, by the index, in ${show(owner)}`);
    }
  }
  return tensors;
}
