/**
 * Published rows against this machine: which can be repeated with what is on disk, what is missing for the others, and what those
 * that were run gave. Only figures that were read in their source get a verdict, and only over the whole data set.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { datasetInfo, type EvalDataset, openDataset } from '../data/dataset.js';
import type { Model, ModelInfo } from '../pipelines/model.js';
import { isWordmaskError, show, WordmaskError } from '../util/errors.js';
import { nearest } from '../util/nearest.js';
import { evaluate } from './evaluate.js';
import { type PublishedFigure, type PublishedRow, publishedRows } from './published/index.js';
import { caveatsOf } from './reference.js';
import { readReport, writeReport } from './report-file.js';
import type { EvalMetrics, EvalReport } from './report-types.js';
import { labelRuleOf } from './setup.js';

export type Verdict = 'reproduced' | 'close' | 'differs';

export interface ReproducedFigure {
  /** Of the row. */
  readonly id: string;
  readonly row: string;
  readonly system: string;
  readonly paper: string;
  readonly source: string;
  readonly weights: string;
  readonly protocol: PublishedRow['protocol'];
  readonly dataset: string;
  readonly metric: string;
  /** Fractions, as everywhere but in tables. */
  readonly published: number;
  readonly trust: PublishedFigure['trust'];
  readonly note?: string;
  /** `ready`: everything is here and was not run. */
  readonly status: 'measured' | 'ready' | 'missing' | 'failed';
  /** What is missing or went wrong, each with what to do. */
  readonly missing: readonly string[];
  readonly measured: number | null;
  readonly difference: number | null;
  readonly verdict: Verdict | null;
  /** Why there is no verdict, and what keeps the run from being the row. */
  readonly caveats: readonly string[];
  readonly report?: string;
}

export interface ReproduceOptions {
  /** Systems of this version. */
  readonly systems: readonly string[];
  /** Where weights are, without opening them. @throws E_MODEL_NOT_FOUND and others with what to do */
  readonly locate: (name: string) => Promise<unknown>;
  readonly open: (name: string) => Promise<Model>;
  /** Model to take for all rows of a system, instead of the row's own. */
  readonly models?: Readonly<Record<string, string>>;
  /** Folder that holds the data sets' folders. */
  readonly root?: string;
  /** Ids of rows, or systems; default all. */
  readonly rows?: readonly string[];
  readonly datasets?: readonly string[];
  readonly limit?: number;
  readonly partial?: boolean;
  readonly onError?: 'stop' | 'skip';
  /** Only says what would be run. */
  readonly dryRun?: boolean;
  /** Folder for reports and journals: what is in it is not measured again. */
  readonly out?: string;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: { row: string; dataset: string; done: number; total: number }) => void;
  readonly onWarning?: (message: string) => void;
}

/** Points: an independent rerun of NACLIP moved by 0.1 (naclip.md section 11). */
const reproducedWithin = 0.2;
const closeWithin = 1;

/** @throws E_OPTION for an unknown row or data set */
export async function reproduce(options: ReproduceOptions): Promise<ReproducedFigure[]> {
  const rows = chosenRows(options);
  const bench = new Bench(options);
  const results: ReproducedFigure[] = [];
  try {
    for (const row of rows)
      for (const figure of row.figures)
        if (!options.datasets || options.datasets.includes(figure.dataset))
          results.push(await bench.figure(row, figure));
  } finally {
    await bench.end();
  }
  return results;
}

function chosenRows({ rows, systems, datasets }: ReproduceOptions): PublishedRow[] {
  const here = publishedRows.filter(({ system }) => systems.includes(system));
  const names = new Set(here.flatMap(({ id, system }) => [id, system]));
  const unknown = rows?.find((name) => !names.has(name));
  if (unknown !== undefined) throw unknownName('row', unknown, [...names]);
  const sets = new Set(here.flatMap(({ figures }) => figures.map(({ dataset }) => dataset)));
  const set = datasets?.find((name) => !sets.has(name));
  if (set !== undefined) throw unknownName('data set', set, [...sets]);
  return rows ? here.filter(({ id, system }) => rows.includes(id) || rows.includes(system)) : here;
}

function unknownName(what: string, name: string, known: readonly string[]): WordmaskError {
  const guess = nearest(name, known);
  return new WordmaskError(
    'E_OPTION',
    `no published row has the ${what} ${show(name)}${guess ? `; did you mean ${show(guess)}?` : ''} (known: ${known.join(', ')})`,
    { details: { value: name } },
  );
}

interface Measured {
  readonly report: EvalReport;
  /** Where it was written; rows with the same settings share it. */
  readonly file?: string;
  readonly sizes: ModelInfo['sizes'];
}

/** Weights that have a name to be found by; others are described in words. */
const hubId = /^[\w.-]+\/[\w.-]+$/;

class Bench {
  #model: { readonly name: string; readonly model: Model } | undefined;
  readonly #located = new Map<string, string | undefined>();
  readonly #datasets = new Map<string, EvalDataset | string>();
  readonly #reports = new Map<string, Measured | string>();

  constructor(private readonly options: ReproduceOptions) {}

  async figure(row: PublishedRow, figure: PublishedFigure): Promise<ReproducedFigure> {
    const { id, system, paper, source, weights, protocol, note } = row;
    const { dataset, metric, trust } = figure;
    const told = {
      ...{ id, row: row.row, system, paper, source, weights, protocol, dataset, metric },
      ...{ published: figure.value / 100, trust, ...(note !== undefined && { note }) },
    };
    const none = { measured: null, difference: null, verdict: null, caveats: [] };
    const missing = await this.#missing(row, figure);
    if (missing.length > 0) return { ...told, status: 'missing', missing, ...none };
    if (this.options.dryRun) return { ...told, status: 'ready', missing: [], ...none };
    const found = await this.#report(row, dataset);
    if (typeof found === 'string') return { ...told, status: 'failed', missing: [found], ...none };
    return { ...told, status: 'measured', missing: [], ...judged(row, figure, found) };
  }

  async #missing(row: PublishedRow, { dataset, metric }: PublishedFigure): Promise<string[]> {
    const problems = [await this.#missingModel(row), await this.#missingData(row, dataset)];
    if (/^(PQ|SQ|RQ|AP)$/.test(metric)) problems.push(`${metric} is not scored by evaluate yet, semantic figures are`);
    return problems.filter((problem) => problem !== undefined);
  }

  #nameOf({ system, weights }: PublishedRow): string | undefined {
    const own = this.options.models?.[system];
    if (own !== undefined) return own;
    return hubId.test(weights) ? `${system}:${weights}` : undefined;
  }

  async #missingModel(row: PublishedRow): Promise<string | undefined> {
    const name = this.#nameOf(row);
    if (name === undefined) return `weights: ${row.weights}; name a folder of them: -m ${row.system}:./FOLDER`;
    if (!this.#located.has(name))
      this.#located.set(
        name,
        await this.options.locate(name).then(
          () => undefined,
          (error: unknown) => {
            if (!isWordmaskError(error)) throw error;
            return hubId.test(row.weights) && error.code === 'E_MODEL_NOT_FOUND' && name.endsWith(row.weights)
              ? `weights: ${row.weights} is not in the Hugging Face cache: wordmask models pull ${row.weights}`
              : `weights: ${error.message}`;
          },
        ),
      );
    return this.#located.get(name);
  }

  async #missingData(row: PublishedRow, name: string): Promise<string | undefined> {
    const dataset = await this.#dataset(row, name);
    return typeof dataset === 'string' ? dataset : undefined;
  }

  /** A data set, or what is missing of it. */
  async #dataset({ protocol, system }: PublishedRow, name: string): Promise<EvalDataset | string> {
    const { root, partial, signal } = this.options;
    const labels = labelRuleOf(protocol, system, name);
    const key = `${name} ${labels}`;
    const known = this.#datasets.get(key);
    if (known !== undefined) return known;
    let found: EvalDataset | string;
    if (root === undefined) found = `data: --root DIR, a folder with ${layoutText(name)}`;
    else
      try {
        found = await openDataset(name, { root, labels, partial, signal });
      } catch (error) {
        signal?.throwIfAborted();
        if (!isWordmaskError(error)) throw error;
        // Every path that was tried says less than the one that is usual.
        found = Array.isArray(error.details.tried)
          ? `data: ${name} is not below ${root}; it needs ${layoutText(name)}`
          : `data: ${error.message}`;
      }
    this.#datasets.set(key, found);
    return found;
  }

  /** A report, or why there is none; rows with the same settings share one. */
  async #report(row: PublishedRow, name: string): Promise<Measured | string> {
    const model = this.#nameOf(row) as string;
    const key = JSON.stringify([model, row.system, row.protocol, name]);
    const known = this.#reports.get(key);
    if (known !== undefined) return known;
    let found: Measured | string;
    try {
      found = await this.#measure(row, name, model);
    } catch (error) {
      this.options.signal?.throwIfAborted();
      if (!isWordmaskError(error) || error.code === 'E_DISK' || error.code === 'E_DEVICE_LOST') throw error;
      found = `${error.code} ${error.message}`;
    }
    this.#reports.set(key, found);
    return found;
  }

  async #measure(row: PublishedRow, name: string, modelName: string): Promise<Measured> {
    const { out, limit, onError, signal, onWarning, onProgress } = this.options;
    const model = await this.#open(modelName);
    const dataset = (await this.#dataset(row, name)) as EvalDataset;
    if (out !== undefined) await mkdir(out, { recursive: true });
    const report = await evaluate({
      ...{ model, dataset, protocol: row.protocol, limit, onError, signal, onWarning },
      ...(out !== undefined && { journal: join(out, `${row.id}.${name}.jsonl`), resume: true }),
      onProgress: ({ done, total }) => onProgress?.({ row: row.id, dataset: name, done, total }),
    });
    const { sizes } = model.info;
    if (out === undefined) return { report, sizes };
    const file = this.#file(row, name);
    await writeReport(file, report, signal);
    return { report: await readReport(file, signal), sizes, file };
  }

  #file({ id }: PublishedRow, name: string): string {
    return join(this.options.out ?? '.', `${id}.${name}.json`);
  }

  async #open(name: string): Promise<Model> {
    if (this.#model?.name === name) return this.#model.model;
    await this.end();
    this.#model = { name, model: await this.options.open(name) };
    return this.#model.model;
  }

  async end(): Promise<void> {
    await this.#model?.model.dispose();
    this.#model = undefined;
  }
}

function layoutText(name: string): string {
  const { layouts, published, splits } = datasetInfo(name);
  const [first] = layouts;
  if (!first) return 'nothing: it is made';
  const count = published[splits[0] as string];
  return `${first.images} and ${first.truth}${count === undefined ? '' : ` (${count} pictures of ${splits[0]})`}`;
}

function judged(
  row: PublishedRow,
  { metric, value, trust }: PublishedFigure,
  { report, sizes, file }: Measured,
): Pick<ReproducedFigure, 'measured' | 'difference' | 'verdict' | 'caveats' | 'report'> {
  const measured = report.metrics[metric as keyof EvalMetrics] ?? null;
  const difference = measured === null ? null : measured - value / 100;
  // A note of the row is no difference of the run.
  const caveats = caveatsOf(row, report, { sizes }, { request: row.protocol }).filter((text) => text !== row.note);
  const why = [
    ...(trust === 'read' ? [] : ['the published figure is recollected, not read']),
    ...(measured === null ? [`the report has no ${metric}`] : []),
    ...caveats,
  ];
  return {
    ...{ measured, difference, caveats: why },
    verdict: why.length === 0 ? verdictOf(difference as number) : null,
    ...(file !== undefined && { report: file }),
  };
}

/** By the distance in points. */
export function verdictOf(difference: number): Verdict {
  const points = Math.abs(100 * difference);
  return points <= reproducedWithin ? 'reproduced' : points <= closeWithin ? 'close' : 'differs';
}
