/** What the rows of the table share: models that stay open, records as they come, the page's parts. */
import { cpus } from 'node:os';
import { sceneClasses } from '../../data/drawn-scenes/index.js';
import type { Model } from '../../pipelines/model.js';
import { open } from '../../pipelines/open.js';
import { Vocabulary } from '../../pipelines/vocabulary.js';
import { isWordmaskError } from '../../util/errors.js';
import { packageVersion } from '../../util/version.js';
import { figuresOf, RecordView, type TableRecord, withRecord } from './records.js';
import type { SceneSet, Watch } from './scenes.js';

/** The two models of the table. */
export const aliases = ['tiny', 'tiny-cls'] as const;
export type Alias = (typeof aliases)[number];

/** Training-free readings of a CLIP, plainest first. */
export const readOuts = ['clip', 'maskclip', 'clearclip', 'sclip', 'naclip'] as const;
export type ReadOutName = (typeof readOuts)[number];

export interface TableOptions {
  /** Names or folders of the two models. */
  readonly models: Readonly<Record<Alias, string>>;
  /** Most scenes of a split. */
  readonly limit: number;
  /** Command that makes a row, for its records. */
  commandOf(row: number): string;
  readonly commit: string | null;
  /** Folder of a finished training run, by the name that a row gives it; undefined where there is none. */
  run(plan: TrainingRun, signal?: AbortSignal): Promise<string | undefined>;
  /** Pairs a second that training takes in, where that can be measured here. */
  trainingSpeed?(
    signal?: AbortSignal,
  ): Promise<{ readonly pairsPerSecond: number; readonly steps: number } | undefined>;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: { row: number; case: string; done: number; total: number }) => void;
  readonly onNote?: (message: string) => void;
  /** Called with all records after each new one. */
  readonly onRecord?: (records: readonly TableRecord[]) => Promise<void>;
}

/** A training that a row needs: a recipe of the package and what is changed in it. */
export interface TrainingRun {
  readonly name: string;
  /** File name in assets/recipes. */
  readonly recipe: string;
  readonly set: Readonly<Record<string, unknown>>;
}

/** Something a reader may expect of the figures, judged from the records. */
export interface Expectation {
  readonly text: string;
  /** What was found, in words; undefined while it was not measured. */
  readonly found?: string;
  readonly met?: boolean;
}

export interface TableRow {
  readonly row: number;
  readonly title: string;
  /** What is measured and how, in a few sentences. */
  readonly about: string;
  /** Measures and puts its records. */
  measure(table: Table): Promise<void>;
  /** Markdown lines from the records; empty where there are none. */
  render(view: RecordView): string[];
  expectations(view: RecordView): Expectation[];
}

export interface MeasuredCase {
  readonly row: number;
  readonly case: string;
  readonly model?: Model;
  readonly name?: string;
  readonly scenes: SceneSet;
  readonly options?: TableRecord['options'];
  readonly figures: Readonly<Record<string, number>>;
  readonly seconds: number;
}

/** Keeps models open and records together while rows are measured. */
export class Table {
  readonly #open = new Map<string, Promise<Model>>();
  readonly #missing = new Set<Alias>();
  #records: readonly TableRecord[];

  constructor(
    readonly options: TableOptions,
    records: readonly TableRecord[],
  ) {
    this.#records = records;
  }

  get view(): RecordView {
    return new RecordView(this.#records);
  }

  get limit(): number {
    return this.options.limit;
  }

  /** A model of the table, read as a system does; undefined, with a note, where a built-in one is not there. */
  async model(alias: Alias, system: string, dtype?: 'bf16'): Promise<Model | undefined> {
    try {
      return await this.open(`${system}:${this.options.models[alias]}`, dtype);
    } catch (error) {
      const missing = isWordmaskError(error) && error.code === 'E_MODEL_NOT_FOUND';
      if (!missing || this.options.models[alias] !== alias) throw error;
      if (!this.#missing.has(alias)) this.options.onNote?.(`${alias}: ${error.message}`);
      this.#missing.add(alias);
      return undefined;
    }
  }

  open(name: string, dtype?: 'bf16'): Promise<Model> {
    const key = `${name} ${dtype ?? ''}`;
    const known = this.#open.get(key);
    if (known) return known;
    const opened = open(name, { signal: this.options.signal, ...(dtype && { dtype }) });
    this.#open.set(key, opened);
    return opened;
  }

  /** The 34 names with the model's own templates. */
  vocabulary(model: Model, names: Parameters<Model['vocabulary']>[0] = sceneClasses): Promise<Vocabulary> {
    return model.vocabulary(names instanceof Vocabulary ? names : Vocabulary.from(names), {
      signal: this.options.signal,
    });
  }

  watch(row: number, name: string): Watch {
    const { signal, onProgress } = this.options;
    return { signal, onPicture: (done, total) => onProgress?.({ row, case: name, done, total }) };
  }

  async put(measured: MeasuredCase): Promise<void> {
    const { model, scenes } = measured;
    const { options } = this;
    const record: TableRecord = {
      format: 'wordmask-drawn-scenes/1',
      row: measured.row,
      case: measured.case,
      ...(model && {
        model: {
          name: measured.name ?? '',
          system: model.info.system,
          hash: model.info.hash,
          dtype: model.info.dtype,
        },
      }),
      scenes: {
        split: scenes.split,
        first: scenes.first,
        count: scenes.count,
        width: scenes.width,
        height: scenes.height,
      },
      options: measured.options ?? {},
      figures: figuresOf(measured.figures),
      command: options.commandOf(measured.row),
      commit: options.commit,
      wordmask: packageVersion,
      machine: `${cpus()[0]?.model.trim() || 'unknown'}, ${cpus().length} threads`,
      seconds: Math.round(measured.seconds * 100) / 100,
    };
    this.#records = withRecord(this.#records, record);
    await options.onRecord?.(this.#records);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const opening of this.#open.values()) await (await opening.catch(() => undefined))?.dispose();
  }
}

/** Seconds since `began`. */
export function secondsSince(began: number): number {
  return (performance.now() - began) / 1000;
}

export function percent(value: number | null | undefined, digits = 1): string {
  return value === null || value === undefined ? '–' : (100 * value).toFixed(digits);
}

/** Markdown table. */
export function markdown(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  if (rows.length === 0) return [];
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map((_, i) => (i === 0 ? '---' : '---:'))), ...rows.map(line)];
}

/** `at least 0.85`, judged. */
export function atLeast(text: string, value: number | undefined, least: number): Expectation {
  return value === undefined ? { text } : { text, found: `${percent(value)}`, met: value >= least };
}
