/**
 * Random search over named grids of options by a reward: in each group sampling without replacement by a seed, the first option
 * outermost; a later sample replaces the best only with a strictly larger total, among groups the first of the largest total wins.
 * A journal keeps every total, so that a search that was stopped goes on where it was.
 */
import { appendFile } from 'node:fs/promises';
import { decodeImage, type ImageInput } from '../image/decode.js';
import type { OptionGrid, OptionSearch, Rewarder, SearchGroup } from '../post/tuning.js';
import { show, WordmaskError } from '../util/errors.js';
import { guardDisk, readFileLimited, sha256, writeFileAtomic } from '../util/files.js';
import { canonicalJson, parseJsonStrict } from '../util/json.js';
import { Random } from '../util/random.js';
import type { Model } from './model.js';
import type { SegmentOptions } from './segment-options.js';
import type { Vocabulary } from './vocabulary.js';

export interface Evaluation {
  readonly group: string;
  readonly options: Readonly<Record<string, unknown>>;
  readonly total: number;
}

export interface SearchReport {
  readonly best: Evaluation;
  readonly groups: readonly { readonly name: string; readonly size: number; readonly best: Evaluation }[];
  readonly evaluations: readonly Evaluation[];
}

export interface SearchRequest {
  readonly groups: readonly SearchGroup[];
  /** Evaluations of each group, at most the size of its grid. */
  readonly evaluations: number;
  readonly seed: number;
  /** Groups at work at once (1); changes no result. */
  readonly parallel?: number;
  /** What the totals depend on besides options: a journal of anything else is refused. */
  readonly key: string;
  readonly journal?: string;
  readonly signal?: AbortSignal;
  readonly onProgress?: (done: number, total: number) => void;
}

const journalFormat = 'wordmask-search/1';
const journalLimit = 64 << 20;
const mostPoints = 1e9;

/**
 * @param total worth of a set of options over all pictures
 * @throws E_OPTION for groups without options, E_USAGE for the journal of another search, E_NUMERIC for a total that is no number
 */
export async function searchOptions(
  request: SearchRequest,
  total: (options: Readonly<Record<string, unknown>>, signal?: AbortSignal) => Promise<number>,
): Promise<SearchReport> {
  const { groups, signal } = request;
  if (groups.length === 0) throw new WordmaskError('E_OPTION', 'a search needs at least one group of options');
  const journal = await Journal.open(request);
  const plans = groups.map((group) => ({ group, samples: samplesOf(group, request) }));
  const count = plans.reduce((sum, { samples }) => sum + samples.length, 0);
  let done = 0;
  const searched = await inParallel(plans, request.parallel ?? 1, async ({ group, samples }) => {
    const evaluations: Evaluation[] = [];
    for (const options of samples) {
      signal?.throwIfAborted();
      const known = journal?.total(group.name, options);
      const value = known ?? (await total(options, signal));
      if (!Number.isFinite(value))
        throw new WordmaskError('E_NUMERIC', `the reward of ${canonicalJson(options)} is ${show(value)}, not a number`);
      const evaluation = { group: group.name, options, total: value };
      if (known === undefined) await journal?.add(evaluation);
      evaluations.push(evaluation);
      request.onProgress?.(++done, count);
    }
    return { name: group.name, size: gridSize(group.grid), best: evaluations.reduce(larger), evaluations };
  });
  return {
    best: searched.map(({ best }) => best).reduce(larger),
    groups: searched.map(({ name, size, best }) => ({ name, size, best })),
    evaluations: searched.flatMap(({ evaluations }) => evaluations),
  };
}

/** The earlier one among equals. */
function larger(a: Evaluation, b: Evaluation): Evaluation {
  return b.total > a.total ? b : a;
}

/** Results in the order of the items, at most `parallel` at work; the first failure ends it once those at work have ended. */
async function inParallel<T, R>(items: readonly T[], parallel: number, work: (item: T) => Promise<R>): Promise<R[]> {
  const results = new Array<R>(items.length);
  let [next, failed] = [0, false];
  const worker = async (): Promise<void> => {
    while (next < items.length && !failed) {
      const at = next++;
      try {
        results[at] = await work(items[at] as T);
      } catch (error) {
        failed = true;
        throw error;
      }
    }
  };
  const ended = await Promise.allSettled(Array.from({ length: Math.min(parallel, items.length) }, worker));
  for (const outcome of ended) if (outcome.status === 'rejected') throw outcome.reason;
  return results;
}

/** Points of a grid that are tried, in the order of their trial. */
function samplesOf(group: SearchGroup, { evaluations, seed }: SearchRequest): Record<string, unknown>[] {
  const size = gridSize(group.grid);
  if (!(size >= 1 && size <= mostPoints))
    throw new WordmaskError(
      'E_OPTION',
      `group ${show(group.name)} of the search has ${size} points: every option needs a value, and all together at most ${mostPoints}`,
    );
  if (!(Number.isInteger(evaluations) && evaluations >= 1))
    throw new WordmaskError('E_OPTION', `evaluations must be a whole number of at least 1, got ${show(evaluations)}`, {
      details: { option: 'evaluations', value: evaluations },
    });
  return drawWithoutReplacement(size, Math.min(size, evaluations), new Random(seed).fork(group.name)).map((index) =>
    pointOf(group.grid, index),
  );
}

function gridSize(grid: OptionGrid): number {
  const lists = Object.values(grid);
  return lists.length === 0 ? 0 : lists.reduce((product, values) => product * values.length, 1);
}

/** The last option moves fastest. */
function pointOf(grid: OptionGrid, index: number): Record<string, unknown> {
  let rest = index;
  const point: [string, unknown][] = [];
  for (const [name, values] of Object.entries(grid).reverse()) {
    point.push([name, values[rest % values.length]]);
    rest = Math.floor(rest / values.length);
  }
  return Object.fromEntries(point.reverse());
}

/** First `count` places of a random order of 0..size-1 (Fisher and Yates), without holding all of it. */
function drawWithoutReplacement(size: number, count: number, random: Random): number[] {
  const moved = new Map<number, number>();
  return Array.from({ length: count }, (_, i) => {
    const k = i + random.int(size - i);
    const drawn = moved.get(k) ?? k;
    moved.set(k, moved.get(i) ?? i);
    return drawn;
  });
}

/** JSON lines: what is searched, then a total each. A last line that a kill cut off is dropped. */
class Journal {
  readonly #known = new Map<string, number>();

  private constructor(private readonly file: string) {}

  static async open({ journal: file, key }: SearchRequest): Promise<Journal | undefined> {
    if (file === undefined) return undefined;
    const journal = new Journal(file);
    const head = `${JSON.stringify({ format: journalFormat, key })}\n`;
    const text = await readFileLimited(file, { limit: journalLimit }).then(
      (bytes) => bytes.toString('utf8'),
      (error: WordmaskError) => {
        if (error.details.errno === 'ENOENT') return '';
        throw error;
      },
    );
    const whole = text.slice(0, text.lastIndexOf('\n') + 1);
    if (whole !== '' && !whole.startsWith(head))
      throw new WordmaskError(
        'E_USAGE',
        `${file} is the journal of another search (other model, words, pictures, options or seed): name another file or delete it`,
        { details: { file } },
      );
    for (const [at, line] of whole.split('\n').slice(1, -1).entries()) journal.#remember(line, at + 2);
    // Rewritten whole, so that what is appended begins on a line of its own.
    await writeFileAtomic(file, whole === '' ? head : whole, { createFolder: true });
    return journal;
  }

  total(group: string, options: object): number | undefined {
    return this.#known.get(canonicalJson({ group, options }));
  }

  async add(evaluation: Evaluation): Promise<void> {
    await guardDisk('write', this.file, () => appendFile(this.file, `${JSON.stringify(evaluation)}\n`));
  }

  #remember(line: string, number: number): void {
    const what = `${this.file}, line ${number}`;
    const { group, options, total } = (parseJsonStrict(line, { code: 'E_USAGE', what }) ?? {}) as Partial<Evaluation>;
    if (typeof group !== 'string' || typeof options !== 'object' || options === null || typeof total !== 'number')
      throw new WordmaskError('E_USAGE', `${what} is no evaluation of a search: delete the file to start again`);
    this.#known.set(canonicalJson({ group, options }), total);
  }
}

export interface ModelSearch {
  readonly images: readonly ImageInput[];
  readonly vocab: Vocabulary;
  readonly seed: number;
  readonly evaluations?: number;
  readonly parallel?: number;
  readonly journal?: string;
  readonly segment?: SegmentOptions;
  readonly signal?: AbortSignal;
  readonly onProgress?: (done: number, total: number) => void;
}

/** The search that a system defines. */
export async function searchModel(model: Model, rule: OptionSearch, request: ModelSearch): Promise<SearchReport> {
  const { images, vocab, signal, segment = {} } = request;
  const { searched } = model.calls;
  const rewarder: Rewarder = await model.work(signal, () => rule.rewarder(searched, vocab.spec, signal));
  try {
    const hashes: string[] = [];
    for (const image of images) hashes.push((await decodeImage(image, { signal })).hash);
    const { signal: _, ...fixed } = segment;
    const key = sha256(
      canonicalJson({ model: model.info.hash, vocabulary: vocab.hash, images: hashes, seed: request.seed, fixed }),
    );
    const groups = rule.groups(vocab.spec, searched, fixed);
    const evaluations = request.evaluations ?? rule.evaluations;
    return await searchOptions({ ...request, groups, evaluations, key }, async (options) => {
      let sum = 0;
      for (const image of images)
        sum += await model.work(signal, async () =>
          rewarder.reward(await decodeImage(image, { signal }), { ...fixed, ...options }, signal),
        );
      return sum;
    });
  } finally {
    rewarder.dispose?.();
  }
}
