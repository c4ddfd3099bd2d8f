/** All tensors of a model from its files: names brought to the model's own, every gap reported at once, values checked. */
import type { Tensor } from '../engine/index.js';
import { sha256, sha256File } from '../util/files.js';
import { checkFinite } from './check-finite.js';
import { assertCoverage, coverage, type KeyPlan, type KeyRule, mapKeys, type Shaped } from './keymap.js';
import { loadTensors } from './tensors.js';
import { openWeights, type WeightSet } from './weight-set.js';

export interface ModelTensorsOptions {
  /** Patterns of names that may be there and are not used. */
  readonly ignore?: readonly string[];
  /** Patterns of wanted names that may be missing. */
  readonly optional?: readonly string[];
  /** Look for NaN and infinity. Default true. */
  readonly check?: boolean;
}

/** What stands around the names of a checkpoint that was saved with more than its tensors, or by a wrapper. */
const wrappers = /^(?:(?:model|state_dict|module)\.)+/;

/**
 * Names, as the model calls them, with where each tensor lies in the files.
 * @param infix parts of names that are left out, e.g. /(?<=^text_encoder\.)bert\./
 * @throws E_WEIGHTS for two tensors of one name
 */
export function modelPlans(weights: WeightSet, rules: readonly KeyRule[], infix?: RegExp): Map<string, KeyPlan> {
  const original = new Map<string, string>();
  const entries = [...weights.tensors].map(([name, { entry }]) => {
    const bare = name.replace(wrappers, '');
    const plain = infix ? bare.replace(infix, '') : bare;
    // Of two names that come to one, the second stays as it is and is listed as unexpected.
    const key = original.has(plain) ? name : plain;
    original.set(key, name);
    return [key, entry] as const;
  });
  const plans = mapKeys(weights.path, entries, rules);
  for (const [name, plan] of plans) plans.set(name, { ...plan, source: original.get(plan.source) ?? plan.source });
  return plans;
}

/**
 * Tensors by the model's own names, f32.
 * @throws E_WEIGHTS listing all missing, unexpected and wrong-shaped tensors; E_WEIGHTS_VALUE; E_DISK
 */
export async function loadModelTensors(
  weights: WeightSet,
  plans: ReadonlyMap<string, KeyPlan>,
  wanted: ReadonlyMap<string, Shaped['shape']>,
  options: ModelTensorsOptions = {},
): Promise<Map<string, Tensor>> {
  assertCoverage(weights.path, coverage(wanted, plans, options));
  const used = new Map([...plans].filter(([name]) => wanted.has(name)));
  const tensors = await loadTensors(weights, used);
  try {
    if (options.check ?? true) await checkFinite(weights.path, tensors);
    return tensors;
  } catch (error) {
    for (const tensor of tensors.values()) tensor.dispose();
    throw error;
  }
}

export interface ReadModelOptions<Config> extends ModelTensorsOptions {
  readonly rules: readonly KeyRule[];
  /** As `modelPlans`'s. */
  readonly infix?: RegExp;
  /** The model's config and the tensors it needs, from the shapes there are. */
  readonly configure: (shapes: ReadonlyMap<string, Shaped>) => {
    readonly config: Config;
    readonly wanted: ReadonlyMap<string, Shaped['shape']>;
    /** Patterns as `ignore`'s that follow from the config. */
    readonly ignore?: readonly string[];
  };
  readonly signal?: AbortSignal;
}

export interface ReadModel<Config> {
  readonly config: Config;
  /** By the model's own names. */
  readonly tensors: Map<string, Tensor>;
  /** The same tensors under the names the file has for them, as long as each is one tensor of the file. */
  readonly byFileName: Map<string, Tensor>;
  /** SHA-256 over the weights files. */
  readonly hash: string;
  readonly bytes: number;
}

/** Opens, maps, checks and hashes the weights of a model. @throws as `loadModelTensors`, and what `configure` throws */
export async function readModelTensors<Config>(
  path: string,
  options: ReadModelOptions<Config>,
): Promise<ReadModel<Config>> {
  const { signal } = options;
  const weights = await openWeights(path, { signal });
  try {
    const digests = Promise.all(weights.files.map((file) => sha256File(file.path, { signal })));
    digests.catch(() => undefined);
    const plans = modelPlans(weights, options.rules, options.infix);
    const { config, wanted, ignore = [] } = options.configure(plans);
    const ignored = [...(options.ignore ?? []), ...ignore];
    const tensors = await loadModelTensors(weights, plans, wanted, { ...options, ignore: ignored });
    try {
      const hash = await digests.then((list) => (list.length === 1 ? (list[0] as string) : sha256(list.join('\n'))));
      const byFileName = new Map([...tensors].map(([name, tensor]) => [plans.get(name)?.source ?? name, tensor]));
      return { config, tensors, byFileName, hash, bytes: weights.bytes };
    } catch (error) {
      for (const tensor of tensors.values()) tensor.dispose();
      throw error;
    }
  } finally {
    await weights.close();
  }
}
