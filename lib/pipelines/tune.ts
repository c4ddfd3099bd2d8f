/**
 * Settings of a model found on a user's own pictures: the background threshold by the system's rule without labels where it
 * defines one, else by labels over a grid (evaluation.md section 4); or a search over options by a reward.
 */
import type { ImageInput } from '../image/decode.js';
import type { ScoredPicture, SystemTuning } from '../post/tuning.js';
import { show, WordmaskError } from '../util/errors.js';
import { sha256 } from '../util/files.js';
import { canonicalJson } from '../util/json.js';
import { Random } from '../util/random.js';
import type { Features } from './features.js';
import type { Model } from './model.js';
import { type SearchReport, searchModel } from './option-search.js';
import type { SegmentOptions } from './segment-options.js';
import type { Segmentation } from './segmentation.js';
import { ThresholdCurve, type ThresholdScores, type TruthMap } from './threshold-curve.js';
import type { Vocabulary } from './vocabulary.js';

export interface TuneOptions {
  /** `background` (default): the threshold below which a pixel is background. `search`: options by a reward, where the system defines one. */
  readonly what?: 'background' | 'search';
  /**
   * Labels of picture `index`, for the rule with labels. Where a label of the vocabulary is marked as background, values are indices of
   * labels; else 0 is background and label k has the value k + 1.
   */
  readonly truth?: (index: number, signal?: AbortSignal) => Promise<TruthMap>;
  /** Value of the truth that does not count (255). */
  readonly ignore?: number;
  /** Thresholds to try, rising (0.05, 0.10, ... 0.95). */
  readonly grid?: readonly number[];
  /** Pictures used, drawn by `seed` where there are more (200). */
  readonly limit?: number;
  readonly seed?: number;
  /** Options of `segment` that the setting is meant for. */
  readonly segment?: SegmentOptions;
  /** At a picture that fails: `stop` (default) or `skip` it and say so in the result. */
  readonly onError?: 'stop' | 'skip';
  /** Names of the pictures, for messages. */
  readonly names?: readonly string[];
  /** File that keeps what a search has measured, so that it can go on. */
  readonly journal?: string;
  /** Evaluations of each group of a search, instead of the system's number. */
  readonly evaluations?: number;
  /** Groups of a search at work at once (1); changes no result. */
  readonly parallel?: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (done: number, total: number) => void;
}

export interface TuneResult {
  readonly format: 'wordmask-tuning/1';
  readonly what: 'background' | 'search';
  /** `labelled`, `unlabelled` or `reward`. */
  readonly rule: string;
  /** Where the rule comes from. */
  readonly source: string;
  readonly system: string;
  readonly model: string;
  readonly vocabulary: string;
  /** Options to set, as `tuning` of wordmask.json holds them. */
  readonly tuning: Readonly<Record<string, unknown>>;
  /** One entry a threshold: of the rule with labels its scores, of one without its merit. */
  readonly curve?: readonly (ThresholdScores | { readonly value: number; readonly merit: number })[];
  readonly search?: SearchReport;
  readonly pictures: {
    readonly given: number;
    readonly used: number;
    /** Indices drawn, where not all were used. */
    readonly drawn?: readonly number[];
    readonly failed: readonly { readonly index: number; readonly code: string; readonly message: string }[];
  };
  readonly seed: number;
  /** Options of `segment` in force, and their hash. */
  readonly options: Readonly<Record<string, unknown>>;
  readonly optionsHash: string;
  readonly warnings: readonly string[];
}

export const defaultGrid: readonly number[] = Array.from({ length: 19 }, (_, i) => (i + 1) / 20);
const defaultLimit = 200;
const knownKeys = [
  ...[
    'what',
    'truth',
    'ignore',
    'grid',
    'limit',
    'seed',
    'segment',
    'onError',
    'names',
    'journal',
    'evaluations',
    'parallel',
  ],
  ...['signal', 'onProgress'],
];

/** For `Model.tune`. */
export async function tuneModel(
  model: Model,
  images: readonly ImageInput[],
  vocab: Vocabulary,
  options: TuneOptions,
): Promise<TuneResult> {
  checkOptions(images, options);
  const drawn = drawPictures(images.length, options);
  const what = options.what ?? 'background';
  const run: TuneRun = { model, images, vocab, options, drawn, failed: [] };
  const { tuning } = model.calls;
  const found =
    what === 'search' ? await search(run) : options.truth ? await labelled(run) : await unlabelled(run, tuning);
  const { signal: _, ...segment } = options.segment ?? {};
  return {
    format: 'wordmask-tuning/1',
    what,
    ...found,
    system: model.info.system,
    model: model.info.hash,
    vocabulary: vocab.hash,
    pictures: {
      given: images.length,
      used: drawn.length - run.failed.length,
      ...(drawn.length < images.length && { drawn }),
      failed: run.failed,
    },
    seed: options.seed ?? 0,
    options: segment,
    optionsHash: sha256(canonicalJson(segment)),
  };
}

interface TuneRun {
  readonly model: Model;
  readonly images: readonly ImageInput[];
  readonly vocab: Vocabulary;
  readonly options: TuneOptions;
  /** Indices of the pictures used, rising. */
  readonly drawn: readonly number[];
  readonly failed: { index: number; code: string; message: string }[];
}

type Found = Pick<TuneResult, 'rule' | 'source' | 'tuning' | 'curve' | 'search' | 'warnings'>;

function checkOptions(images: readonly ImageInput[], options: TuneOptions): void {
  const bad = (option: string, value: unknown, allowed: string): never => {
    throw new WordmaskError('E_OPTION', `tune: ${option} must be ${allowed}, got ${show(value)}`, {
      details: { option, value },
    });
  };
  if (!Array.isArray(images) || images.length === 0)
    throw new WordmaskError('E_USAGE', `tune needs a list of at least one picture, got ${show(images)}`);
  const unknown = Object.keys(options).find((key) => !knownKeys.includes(key));
  if (unknown !== undefined)
    throw new WordmaskError('E_OPTION', `tune: unknown option ${show(unknown)} (known: ${knownKeys.join(', ')})`, {
      details: { option: unknown },
    });
  const { what, grid, limit, onError, truth, parallel } = options;
  if (what !== undefined && what !== 'background' && what !== 'search') bad('what', what, "'background' or 'search'");
  if (limit !== undefined && !(Number.isInteger(limit) && limit >= 1))
    bad('limit', limit, 'a whole number of at least 1');
  if (parallel !== undefined && !(Number.isInteger(parallel) && parallel >= 1))
    bad('parallel', parallel, 'a whole number of at least 1');
  if (onError !== undefined && onError !== 'stop' && onError !== 'skip') bad('onError', onError, "'stop' or 'skip'");
  if (truth !== undefined && typeof truth !== 'function') bad('truth', truth, 'a function of the index of a picture');
  if (grid === undefined) return;
  const rising =
    Array.isArray(grid) && grid.every((t, i) => t > 0 && t <= 1 && (i === 0 || t > (grid[i - 1] as number)));
  if (!rising || grid.length === 0 || grid.length > 1000)
    bad('grid', grid, 'one to 1000 rising numbers above 0 and up to 1');
}

/** All, or `limit` of them drawn without replacement; in the order given. */
function drawPictures(count: number, { limit = defaultLimit, seed = 0 }: TuneOptions): number[] {
  const all = Array.from({ length: count }, (_, i) => i);
  if (count <= limit) return all;
  return new Random(seed)
    .fork('pictures')
    .shuffle(all)
    .slice(0, limit)
    .sort((a, b) => a - b);
}

/** @throws E_OPTION for a system whose settings hold no threshold */
function thresholdOption({ calls, info }: Model): string {
  if (calls.thresholdOption !== undefined) return calls.thresholdOption;
  throw new WordmaskError(
    'E_OPTION',
    `${info.system} keeps no background threshold: give segment one, background: { mode: 'threshold', value: 0.4 }`,
    { details: { option: 'what', value: 'background', system: info.system } },
  );
}

async function labelled(run: TuneRun): Promise<Found> {
  const { model, vocab, options } = run;
  const grid = options.grid ?? defaultGrid;
  const curve = new ThresholdCurve(grid, vocab.labels.length, vocab.spec.backgroundIndex, options.ignore ?? 255);
  const option = thresholdOption(model);
  const once = model.calls.thresholdComesLast(model.check(options.segment ?? {}));
  for await (const { index, picture } of once ? scored(run) : each(run)) {
    const truth = await (options.truth as NonNullable<TuneOptions['truth']>)(index, options.signal);
    const name = nameOf(run, index);
    if (picture) await curve.add(picture, truth, name, options.signal);
    else await everyThreshold(run, index, curve, truth);
  }
  const scores = curve.scores();
  requireResults(run);
  let best = 0;
  scores.forEach(({ mIoU }, j) => {
    if (mIoU > (scores[best] as ThresholdScores).mIoU) best = j;
  });
  return {
    rule: 'labelled',
    source: `grid search over labelled pictures, highest mIoU, the lower value among equals`,
    tuning: { [option]: grid[best] as number },
    curve: scores,
    warnings: edgeWarning(grid, best),
  };
}

function edgeWarning(grid: readonly number[], best: number): string[] {
  if (grid.length > 1 && best === grid.length - 1)
    return [`the best threshold, ${grid[best]}, is the last of the grid: a higher one may be better still`];
  if (grid.length > 1 && best === 0)
    return [`the best threshold, ${grid[best]}, is the first of the grid: a lower one, or none, may be better still`];
  return [];
}

async function unlabelled(run: TuneRun, tuning: SystemTuning | undefined): Promise<Found> {
  const { model, options } = run;
  const rule = tuning?.background;
  if (!rule)
    throw new WordmaskError(
      'E_OPTION',
      `${model.info.system} defines no rule that finds a background threshold without labels: give label maps of some of the pictures (tune --truth DIR, option truth)`,
      { details: { option: 'what', value: 'background', system: model.info.system } },
    );
  async function* pictures(): AsyncGenerator<ScoredPicture> {
    for await (const { picture } of scored(run)) if (picture) yield picture;
  }
  const { value, curve } = await rule.choose(pictures(), options.grid ?? defaultGrid);
  requireResults(run);
  return { rule: 'unlabelled', source: rule.source, tuning: { [thresholdOption(model)]: value }, curve, warnings: [] };
}

async function search(run: TuneRun): Promise<Found> {
  const { model, images, vocab, options, drawn } = run;
  const rule = model.calls.tuning?.search;
  if (!rule)
    throw new WordmaskError(
      'E_OPTION',
      `${model.info.system} defines no search over its options: tune its background threshold instead (what: 'background')`,
      { details: { option: 'what', value: 'search', system: model.info.system } },
    );
  const report = await searchModel(model, rule, {
    images: drawn.map((index) => images[index] as ImageInput),
    vocab,
    seed: options.seed ?? 0,
    evaluations: options.evaluations,
    parallel: options.parallel,
    journal: options.journal,
    segment: options.segment,
    signal: options.signal,
    onProgress: options.onProgress,
  });
  return { rule: 'reward', source: rule.source, tuning: report.best.options, search: report, warnings: [] };
}

interface Drawn {
  readonly index: number;
  /** Absent where the caller segments by itself. */
  readonly picture?: ScoredPicture;
}

/** Winners and their probabilities under no threshold, picture by picture. */
async function* scored(run: TuneRun): AsyncGenerator<Drawn> {
  const { model, images, vocab, options, drawn } = run;
  const inputs = drawn.map((index) => images[index] as ImageInput);
  const segment = { ...options.segment, threshold: 0, outputs: ['score' as const], keepImage: false };
  let done = 0;
  for await (const result of model.stream(inputs, vocab, { ...segment, signal: options.signal })) {
    const index = drawn[result.index] as number;
    if (result.ok) {
      const { width, height, labels, score } = result.value;
      yield { index, picture: { width, height, labels, score: score?.data as Float32Array } };
    } else note(run, index, result.error);
    options.onProgress?.(++done, drawn.length);
  }
}

async function* each({ drawn, options }: TuneRun): AsyncGenerator<Drawn> {
  let done = 0;
  for (const index of drawn) {
    yield { index };
    options.onProgress?.(++done, drawn.length);
  }
}

/** One picture under each threshold in turn; its features are made once where the system can keep them. */
async function everyThreshold(run: TuneRun, index: number, curve: ThresholdCurve, truth: TruthMap): Promise<void> {
  const { model, images, vocab, options } = run;
  const image = images[index] as ImageInput;
  const { signal } = options;
  const segment = { ...options.segment, keepImage: false, ...(signal && { signal }) };
  const [first = 0, ...others] = curve.grid;
  const count = async (j: number, { labels }: { labels: ArrayLike<number> }): Promise<void> =>
    curve.addAt(j, labels, truth, nameOf(run, index), signal);
  let features: Features | undefined;
  try {
    let result: Segmentation;
    try {
      features = model.info.separable ? await model.encode(image, segment) : undefined;
      result = await model.segment(features ?? image, vocab, { ...segment, threshold: first });
    } catch (error) {
      signal?.throwIfAborted();
      if (!(error instanceof WordmaskError)) throw error;
      return note(run, index, error);
    }
    // Once counted under one threshold, a picture has to be counted under all.
    await count(0, result);
    for (const [at, threshold] of others.entries())
      await count(at + 1, await model.segment(features ?? image, vocab, { ...segment, threshold }));
  } finally {
    features?.dispose();
  }
}

/** What no other picture would fare better with. */
const fatal = new Set(['E_DEVICE_LOST', 'E_DISPOSED', 'E_INTERNAL', 'E_ABORTED', 'E_OPTION', 'E_VOCAB', 'E_LABEL']);

function note({ options, failed }: TuneRun, index: number, error: WordmaskError): void {
  if (options.onError !== 'skip' || fatal.has(error.code)) throw error;
  failed.push({ index, code: error.code, message: error.message });
}

function requireResults({ drawn, failed }: TuneRun): void {
  if (failed.length < drawn.length) return;
  throw new WordmaskError('E_USAGE', `none of the ${drawn.length} pictures could be used: ${failed[0]?.message}`, {
    details: { failed },
  });
}

function nameOf({ options }: TuneRun, index: number): string {
  return options.names?.[index] ?? `picture ${index}`;
}
