/** What a checkpoint holds besides the model: optimiser, counters, the place in the data; written and read back exactly. */
import { join } from 'node:path';
import type { PairProblem } from '../data/types.js';
import { assign, globalNorm, isolated, noGrad, scope, Tensor } from '../engine/index.js';
import type { Trainable } from '../nn/trainable.js';
import { WordmaskError } from '../util/errors.js';
import { readFileLimited } from '../util/files.js';
import { parseJsonStrict } from '../util/json.js';
import { packageVersion } from '../util/version.js';
import {
  type Checkpoint,
  openSafetensors,
  type SafetensorsFile,
  type TensorToWrite,
  writeCheckpoint,
} from '../weights/index.js';
import type { Recipe } from './recipe.js';
import type { Trainer } from './trainer.js';

const stateLimit = 64 << 20;

/** Sums over the steps since the last record of metrics.jsonl. */
export interface LogWindow {
  readonly steps: number;
  readonly losses: Readonly<Record<string, number>>;
  readonly norm: number;
}

export interface RunState {
  readonly format: 'wordmask-state/1';
  readonly version: string;
  /** Steps that are done. */
  readonly step: number;
  /** All random numbers are functions of the seed and of step, part and use. */
  readonly random: { readonly seed: number; readonly step: number };
  /** Next pair of the run, and where that is. */
  readonly data: { readonly next: number; readonly count: number; readonly source: string };
  readonly worldSize: 1;
  /** Updates of the optimiser so far: fewer than steps where some were skipped. */
  readonly updates: number;
  readonly skipped: { readonly total: number; readonly inARow: number };
  readonly unusable: { readonly count: number; readonly listed: readonly PairProblem[] };
  readonly window: LogWindow;
  readonly seconds: number;
  readonly recipe: Recipe;
}

export const stateHeader = { format: 'wordmask-state/1', version: packageVersion, worldSize: 1 } as const;

/**
 * `model.safetensors` holds the running mean where there is one, else the weights; what it does not hold bit for bit goes into
 * `optimizer.safetensors` as `parameter.PATH`, beside `optimiser.NAME` and `ema.PATH`.
 * @throws E_DISK; E_NUMERIC where a value is not finite. The checkpoints that are there stay
 */
export async function saveState(out: string, trainer: Trainer, state: RunState): Promise<Checkpoint> {
  const { model, optimiser, ema } = trainer;
  const exported = model.exported?.() ?? model.parameters;
  const paths = new Map([...model.parameters].map(([path, tensor]) => [tensor, path]));
  const weights = [...exported].map(([name, tensor]): [string, TensorToWrite] => [
    name,
    fetched(ema?.values.get(paths.get(tensor) ?? '') ?? tensor),
  ]);
  const masters = [...model.parameters].filter(
    ([path, tensor]) => exported.get(path) !== tensor || ema?.values.has(path),
  );
  // Views: they live until the files are written.
  const moments = isolated(() => optimiser.state());
  const means = isolated(() => ema?.state() ?? new Map<string, Tensor>());
  const rest = [
    ...[...moments].map(([name, tensor]) => [`optimiser.${name}`, fetched(tensor)] as const),
    ...masters.map(([path, tensor]) => [`parameter.${path}`, fetched(tensor)] as const),
    ...[...means].map(([name, tensor]) => [name, fetched(tensor)] as const),
  ];
  try {
    await refuseNonFinite(state.step, [
      ...exported.values(),
      ...model.parameters.values(),
      ...moments.values(),
      ...means.values(),
    ]);
    return await writeCheckpoint(out, state.step, {
      ...(await model.describe()),
      'model.safetensors': { tensors: weights },
      'optimizer.safetensors': { tensors: rest },
      'state.json': `${JSON.stringify(state)}\n`,
    });
  } finally {
    for (const view of [...moments.values(), ...means.values()]) view.dispose();
  }
}

/** An update may overflow although loss and gradients were finite: such weights must not take the place of good ones. */
async function refuseNonFinite(step: number, tensors: readonly Tensor[]): Promise<void> {
  const floats = [...new Set(tensors)].filter(({ dtype }) => dtype === 'f32');
  const norm = await scope(() => noGrad(() => globalNorm(floats)).item());
  if (Number.isFinite(norm)) return;
  throw new WordmaskError(
    'E_NUMERIC',
    `the weights or moments are not finite after step ${step}: lower the rate, lengthen the warm-up or set clip`,
    { details: { step } },
  );
}

function fetched(tensor: Tensor): TensorToWrite {
  return { dtype: tensor.dtype, shape: tensor.shape, data: () => tensor.data() };
}

/** @throws E_CHECKPOINT when the file is not a state of ours */
export async function readState(checkpoint: Checkpoint): Promise<RunState> {
  const path = join(checkpoint.folder, 'state.json');
  const bytes = await readFileLimited(path, { limit: stateLimit, code: 'E_CHECKPOINT' });
  const state = parseJsonStrict(bytes, { code: 'E_CHECKPOINT', what: path }) as RunState | null;
  if (state?.format !== 'wordmask-state/1' || state.step !== checkpoint.step)
    throw new WordmaskError('E_CHECKPOINT', `${path} is no state of a training run of this version`, {
      details: { file: path },
    });
  return state;
}

/**
 * The base may have moved, but not changed. A system that writes no hash of its base into wordmask.json keeps it by name.
 * @param names of the base, then and now
 * @throws E_CHECKPOINT
 */
export async function checkSameBase(
  { folder, ...checkpoint }: Checkpoint,
  model: Trainable,
  [before, now]: readonly [string | undefined, string | undefined],
): Promise<void> {
  const described = (await model.describe())['wordmask.json'];
  const is = described === undefined ? undefined : baseHash(described, folder);
  if (is === undefined) {
    if (before !== now) throw otherModel({ ...checkpoint, folder }, [`its base is ${before}, the recipe's ${now}`]);
    return;
  }
  const file = join(folder, 'wordmask.json');
  const was = baseHash(await readFileLimited(file, { limit: stateLimit, code: 'E_CHECKPOINT' }), file);
  if (was === is) return;
  throw otherModel({ ...checkpoint, folder }, [`its base has weights with SHA-256 ${was}, ${now} has ${is}`]);
}

function baseHash(text: string | Uint8Array, what: string): string | undefined {
  const manifest = parseJsonStrict(Buffer.from(text), { code: 'E_CHECKPOINT', what });
  return (manifest as { base?: { sha256?: string } } | null)?.base?.sha256;
}

/** Puts a checkpoint's values into model, optimiser and mean. @throws E_CHECKPOINT for one of another model */
export async function restoreState(checkpoint: Checkpoint, trainer: Trainer): Promise<void> {
  const weights = await openSafetensors(join(checkpoint.folder, 'model.safetensors'));
  const rest = await openSafetensors(join(checkpoint.folder, 'optimizer.safetensors'));
  const { model, optimiser, ema } = trainer;
  try {
    const places = findParameters(checkpoint, model, weights, rest);
    await scope(async () => {
      for (const [tensor, { file, name }] of places) {
        const source = await readTensor(file, name);
        noGrad(() => assign(tensor, source));
        source.dispose();
      }
      await optimiser.load(await readAll(rest, 'optimiser.', ''));
      ema?.load(await readAll(rest, 'ema.', 'ema.'));
    });
  } finally {
    await Promise.all([weights.close(), rest.close()]);
  }
}

interface Place {
  readonly file: SafetensorsFile;
  readonly name: string;
}

/** Where each parameter's value is. @throws E_CHECKPOINT naming all that are missing or of another shape */
function findParameters(
  checkpoint: Checkpoint,
  model: Trainable,
  weights: SafetensorsFile,
  rest: SafetensorsFile,
): Map<Tensor, Place> {
  const problems: string[] = [];
  const places = new Map<Tensor, Place>();
  for (const [path, tensor] of model.parameters) {
    const master = `parameter.${path}`;
    const place = rest.tensors.has(master) ? { file: rest, name: master } : { file: weights, name: path };
    const entry = place.file.tensors.get(place.name);
    if (!entry) problems.push(`lacks ${path}`);
    else if (entry.shape.join() !== tensor.shape.join() || entry.dtype !== 'F32')
      problems.push(
        `${path} is ${entry.dtype} [${entry.shape.join(', ')}], the model's F32 [${tensor.shape.join(', ')}]`,
      );
    else places.set(tensor, place);
  }
  if (problems.length > 0) throw otherModel(checkpoint, problems);
  return places;
}

async function readTensor(file: SafetensorsFile, name: string): Promise<Tensor> {
  const { data, shape, dtype } = await file.readArray(name);
  return Tensor.from(data, shape, dtype);
}

/** Tensors whose name begins with `prefix`, under `kept` and the rest of their name. */
async function readAll(file: SafetensorsFile, prefix: string, kept: string): Promise<Map<string, Tensor>> {
  const found = new Map<string, Tensor>();
  for (const name of file.tensors.keys())
    if (name.startsWith(prefix)) found.set(kept + name.slice(prefix.length), await readTensor(file, name));
  return found;
}

export function otherModel(checkpoint: Checkpoint, problems: readonly string[]): WordmaskError {
  return new WordmaskError(
    'E_CHECKPOINT',
    `${checkpoint.folder} is a checkpoint of another model: ${problems.slice(0, 20).join('; ')}${problems.length > 20 ? `; and ${problems.length - 20} more` : ''}. Resume with the recipe of that run, or start again with --overwrite`,
    { details: { folder: checkpoint.folder, problems } },
  );
}
