/**
 * Scores a model on a data set by a protocol (evaluation.md section 10). Pictures stream through the model, labels are decoded and
 * counted beside it; of each picture only its counts are kept, so memory does not grow with the data set.
 */
import { type DatasetOptions, type EvalDataset, openDataset } from '../data/dataset.js';
import { Model } from '../pipelines/model.js';
import { show, WordmaskError } from '../util/errors.js';
import { sha256 } from '../util/files.js';
import { canonicalJson } from '../util/json.js';
import { packageVersion } from '../util/version.js';
import { buildReport } from './build-report.js';
import { Journal } from './journal.js';
import { protocolHash } from './protocol.js';
import type { EvalReport } from './report-types.js';
import { type EvalSetup, labelRuleOf, type ProtocolRequest, setUp } from './setup.js';
import { Work } from './work.js';

/** Where a data set is: its name, and what `openDataset` takes. */
export type DatasetRequest = DatasetOptions & { readonly name: string };

export interface EvalProgress {
  readonly done: number;
  readonly failed: number;
  readonly total: number;
  readonly id: string;
}

export interface EvaluateOptions {
  readonly model: Model;
  readonly dataset: EvalDataset | DatasetRequest | string;
  /** Default `published`: the system's own row for the data set, else its usual protocol with its own settings. */
  readonly protocol?: ProtocolRequest;
  readonly task?: string;
  /** Most pictures, from the first. */
  readonly limit?: number;
  /** Part I of N, from 1: pictures I-1, I-1+N, ... */
  readonly shard?: { readonly index: number; readonly count: number };
  /** Journal that is written as pictures are through; with `resume` those in it are not done again. */
  readonly journal?: string;
  readonly resume?: boolean;
  /** Folder for predictions as grey PNGs of class indices, `ID.png`. */
  readonly savePredictions?: string;
  /** Boundary IoU and boundary F too (default false: they take as long as a small model). */
  readonly boundary?: boolean;
  /** Go on with fewer pictures than the list names; for a data set that is opened here. */
  readonly partial?: boolean;
  /** At a picture that fails: `stop` (default), or `skip`: its pixels count as wrong, and the report names it. */
  readonly onError?: 'stop' | 'skip';
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: EvalProgress) => void;
  readonly onWarning?: (message: string) => void;
  /** Asked before each picture: true ends the run once the running ones are through, with E_ABORTED. */
  readonly stopped?: () => boolean;
}

/**
 * @throws E_OPTION for a choice that cannot be followed, E_USAGE, E_VOCAB, and what pictures fail with under `onError: 'stop'`;
 * the signal's reason on abort
 */
export async function evaluate(options: EvaluateOptions): Promise<EvalReport> {
  const { model, signal } = options;
  checkOptions(options);
  const started = { wall: performance.now(), cpu: process.cpuUsage() };
  const dataset = await opened(options);
  const setup = await setUp(model, dataset, options.protocol, signal);
  const chosen = choose(dataset.items.length, options);
  const journal =
    options.journal === undefined
      ? undefined
      : await Journal.open(options.journal, settingsOf(options, dataset, setup), options.resume === true);
  try {
    const work = new Work({ model, dataset, setup, chosen, journal, options });
    await work.run();
    const report = buildReport({
      model,
      dataset,
      setup,
      pictures: work.pictures,
      totals: work.totals,
      resumed: work.resumed,
      options,
      started,
    });
    return report;
  } finally {
    await journal?.close();
  }
}

async function opened({ dataset, protocol, model, partial, signal }: EvaluateOptions): Promise<EvalDataset> {
  if (typeof dataset === 'object' && 'items' in dataset) return dataset;
  const { name, ...rest } = typeof dataset === 'string' ? { name: dataset } : dataset;
  return openDataset(name, {
    ...{ labels: labelRuleOf(protocol, model.info.system, name), signal },
    ...(partial !== undefined && { partial }),
    ...rest,
  });
}

function checkOptions({
  model,
  dataset,
  task = 'semantic',
  limit,
  shard,
  onError = 'stop',
  journal,
  resume,
}: EvaluateOptions): void {
  if (!(model instanceof Model))
    throw new WordmaskError('E_USAGE', `evaluate needs an opened model as model, got ${show(model)}`);
  if (
    typeof dataset !== 'string' &&
    (typeof dataset !== 'object' || dataset === null || typeof dataset.name !== 'string')
  )
    throw new WordmaskError(
      'E_USAGE',
      `evaluate needs a data set: its name, { name, root, ... }, or what openDataset gave, got ${show(dataset)}`,
    );
  const wrong = (option: string, value: unknown, allowed: string): WordmaskError =>
    new WordmaskError('E_OPTION', `evaluate: ${option} must be ${allowed}, got ${show(value)}`, {
      details: { option, value },
    });
  if (task !== 'semantic') {
    const tasks = model.info.tasks.join(', ');
    throw wrong(
      'task',
      task,
      `semantic: ${model.info.system} answers ${tasks}, and panoptic data are scored by their semantic version`,
    );
  }
  if (limit !== undefined && !(Number.isInteger(limit) && limit >= 1))
    throw wrong('limit', limit, 'at least 1 picture');
  if (
    shard &&
    !(Number.isInteger(shard.count) && Number.isInteger(shard.index) && shard.index >= 1 && shard.index <= shard.count)
  )
    throw wrong('shard', `${shard.index}/${shard.count}`, 'I/N with I from 1 to N');
  if (onError !== 'stop' && onError !== 'skip') throw wrong('onError', onError, "'stop' or 'skip'");
  if (resume && journal === undefined) throw wrong('resume', resume, 'given together with a journal');
}

/** Places of the pictures of this run. @throws E_OPTION when there is none */
function choose(items: number, { limit = Infinity, shard }: EvaluateOptions): number[] {
  const all = Array.from({ length: Math.min(items, limit) }, (_, i) => i);
  const chosen = shard ? all.filter((i) => i % shard.count === shard.index - 1) : all;
  if (chosen.length > 0) return chosen;
  throw new WordmaskError(
    'E_OPTION',
    `evaluate: no picture is left: ${items} in the data set${shard ? `, part ${shard.index} of ${shard.count}` : ''}`,
    { details: { items } },
  );
}

/** What a record depends on. */
function settingsOf(
  { limit, shard, model, savePredictions, boundary }: EvaluateOptions,
  dataset: EvalDataset,
  setup: EvalSetup,
): string {
  const { system, hash, dtype } = model.info;
  return sha256(
    canonicalJson({
      ...{ wordmask: packageVersion, system, hash, dtype, protocol: protocolHash(setup.protocol) },
      ...{ vocabulary: setup.vocabulary.hash, ids: sha256(dataset.items.map(({ id }) => id).join('\n')) },
      ...{ limit: limit ?? null, shard: shard ?? null, predictions: savePredictions !== undefined },
      ...(boundary === true && { boundary }),
    }),
  );
}
