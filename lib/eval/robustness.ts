/**
 * How much a figure owes to its words: the same pictures under other vocabularies. Distractors are words of other lists that compete
 * with the classes; synonyms word a class by another of its names; plain names stand against tuned ones; templates are exchanged.
 */
import {
  type ClassEntry,
  classList,
  classListNames,
  templateSetNames,
  type WordedClass,
  wordLabels,
  wordsHash,
} from '../data/class-words.js';
import type { EvalDataset } from '../data/dataset.js';
import type { Model } from '../pipelines/model.js';
import { show, WordmaskError } from '../util/errors.js';
import { Random } from '../util/random.js';
import { type EvaluateOptions, evaluate } from './evaluate.js';
import { scoresOfAreas } from './metrics/semantic.js';
import type { ProtocolChanges } from './protocol.js';
import { presetAlias } from './protocols.js';
import type { EvalReport } from './report-types.js';
import type { ProtocolRequest } from './setup.js';

export const robustnessTests = ['distractors', 'synonyms', 'names', 'templates'] as const;
export type RobustnessTest = (typeof robustnessTests)[number];

export interface RobustnessOptions
  extends Pick<EvaluateOptions, 'protocol' | 'limit' | 'onError' | 'signal' | 'onWarning' | 'stopped'> {
  readonly model: Model;
  readonly dataset: EvalDataset;
  /** Default all that the data set has words for. */
  readonly tests?: readonly RobustnessTest[];
  /** Class list that distractors are drawn from (ade847). */
  readonly distractorList?: string;
  /** Numbers of distractors (10, 50, 200); a larger number has all of a smaller one. */
  readonly distractorCounts?: readonly number[];
  /** Words of each class, in the order of the classes, where no list of the data set has them. */
  readonly synonyms?: readonly (readonly string[])[];
  /** Random choices of one other word a class (3). */
  readonly draws?: number;
  /** Names of template sets (identity, simple, imagenet-subset-7, imagenet-80). */
  readonly templates?: readonly string[];
  readonly seed?: number;
  readonly onProgress?: (progress: { condition: string; done: number; total: number }) => void;
}

export interface RobustnessCondition {
  readonly test: RobustnessTest | 'base';
  readonly name: string;
  readonly mIoU: number | null;
  readonly pixelAccuracy: number | null;
  /** mIoU minus that of the base. */
  readonly difference: number | null;
  /** Labels that compete. */
  readonly labels: number;
  readonly protocolHash: string;
}

export interface RobustnessReport {
  readonly format: 'wordmask-robustness/1';
  readonly dataset: string;
  readonly base: RobustnessCondition;
  readonly conditions: readonly RobustnessCondition[];
  /** Tests that were left out, and why. */
  readonly left: readonly { readonly test: RobustnessTest; readonly why: string }[];
  readonly pictures: number;
  readonly seed: number;
  readonly provenance: EvalReport['provenance'];
  readonly protocol: EvalReport['protocol'];
}

export interface RobustnessResult {
  readonly robustness: RobustnessReport;
  /** Of the base. */
  readonly report: EvalReport;
}

const defaultCounts = [10, 50, 200];
const defaultTemplates = ['identity', 'simple', 'imagenet-subset-7', 'imagenet-80'];

/** @throws as `evaluate`; E_OPTION for wrong choices, E_VOCAB for synonyms of another number of classes */
export async function robustness(options: RobustnessOptions): Promise<RobustnessResult> {
  checkOptions(options);
  const { dataset, seed = 0 } = options;
  const report = await run(options, 'as published', dataset, changesOf(options.protocol));
  const bench = new Bench(options, report, await baseWords(dataset, report));
  const base = { ...bench.scored('base', 'as published', report), difference: 0 };
  const conditions: RobustnessCondition[] = [];
  const left: { test: RobustnessTest; why: string }[] = [];
  for (const test of robustnessTests) {
    if (options.tests && !options.tests.includes(test)) continue;
    const found = await bench[test]();
    if (typeof found === 'string') left.push({ test, why: found });
    else conditions.push(...found);
  }
  const robust: RobustnessReport = {
    format: 'wordmask-robustness/1',
    dataset: dataset.name,
    base,
    conditions,
    left,
    pictures: report.counts.done,
    seed,
    provenance: report.provenance,
    protocol: report.protocol,
  };
  return { robustness: robust, report };
}

function checkOptions({ tests, distractorCounts, draws, templates, distractorList }: RobustnessOptions): void {
  const wrong = (option: string, value: unknown, allowed: string): WordmaskError =>
    new WordmaskError('E_OPTION', `robustness: ${option} must be ${allowed}, got ${show(value)}`, {
      details: { option, value },
    });
  const unknown = tests?.find((test) => !robustnessTests.includes(test));
  if (unknown !== undefined) throw wrong('tests', unknown, `of ${robustnessTests.join(', ')}`);
  const count = distractorCounts?.find((n) => !(Number.isInteger(n) && n >= 1));
  if (count !== undefined) throw wrong('distractorCounts', count, 'whole numbers of at least 1');
  if (draws !== undefined && !(Number.isInteger(draws) && draws >= 1 && draws <= 100))
    throw wrong('draws', draws, 'a whole number from 1 to 100');
  const set = templates?.find((name) => !templateSetNames().includes(name));
  if (set !== undefined) throw wrong('templates', set, `of ${templateSetNames().join(', ')}`);
  if (distractorList !== undefined) classList(distractorList);
}

/** A request as changes to which others can be added. */
function changesOf(request: ProtocolRequest | undefined): ProtocolChanges {
  if (request === undefined || request === 'published') return {};
  return typeof request === 'string' ? { name: request } : request;
}

/** The words that the base run asked for. */
function baseWords(dataset: EvalDataset, { protocol }: EvalReport): Promise<WordedClass[]> {
  const { file, background } = protocol.queries;
  return wordLabels(dataset.classes, { file, background });
}

function run(
  options: RobustnessOptions,
  condition: string,
  dataset: EvalDataset,
  protocol: ProtocolChanges,
): Promise<EvalReport> {
  const { model, limit, onError, signal, onWarning, stopped, onProgress } = options;
  return evaluate({
    ...{ model, dataset, protocol, limit, onError, signal, onWarning, stopped },
    onProgress: ({ done, total }) => onProgress?.({ condition, done, total }),
  });
}

/** Runs conditions against one base. */
class Bench {
  readonly #random: Random;
  readonly #changes: ProtocolChanges;

  constructor(
    private readonly options: RobustnessOptions,
    private readonly base: EvalReport,
    private readonly words: readonly WordedClass[],
  ) {
    this.#random = new Random(options.seed ?? 0).fork('robustness');
    this.#changes = changesOf(options.protocol);
  }

  async distractors(): Promise<RobustnessCondition[] | string> {
    const { distractorList = 'ade847', distractorCounts = defaultCounts } = this.options;
    const taken = new Set(this.words.flatMap(({ name, prompts }) => [name, ...prompts]).map(squeezed));
    const others = new Map<string, string>();
    for (const { name } of classList(distractorList)) {
      const key = squeezed(name);
      if (!taken.has(key) && !others.has(key)) others.set(key, name);
    }
    const drawn = this.#random.fork('distractors').shuffle([...others.values()]);
    const counts = [...new Set(distractorCounts.map((count) => Math.min(count, drawn.length)))].sort((a, b) => a - b);
    if (drawn.length === 0) return `${distractorList} has no word that the data set does not have`;
    const conditions: RobustnessCondition[] = [];
    for (const count of counts) {
      const extra = drawn.slice(0, count).map((name): WordedClass => ({ name, prompts: [name] }));
      conditions.push(
        await this.#worded('distractors', `${count} words of ${distractorList}`, [...this.words, ...extra]),
      );
    }
    return conditions;
  }

  async synonyms(): Promise<RobustnessCondition[] | string> {
    const { draws = 3, dataset } = this.options;
    const lists = this.#synonymLists();
    if (!lists) return `no list of synonyms for ${dataset.name}: give one (synonyms)`;
    const other = (words: readonly string[], own: WordedClass): string[] =>
      words.filter((word) => squeezed(word) !== squeezed(own.prompts[0] ?? own.name));
    // Words that stand for background are none of its synonyms.
    const asked = (c: number): boolean => {
      const { prompts, background } = this.words[c] as WordedClass;
      return prompts.length > 0 && !background;
    };
    const conditions = [
      await this.#worded(
        'synonyms',
        'all words of each class, the best counts',
        this.words.map((own, c) =>
          asked(c) ? { ...own, prompts: unique([...own.prompts, ...(lists[c] ?? [])]) } : own,
        ),
      ),
    ];
    for (let draw = 0; draw < draws; draw++) {
      const random = this.#random.fork('synonyms').fork(draw);
      const drawn = this.words.map((own, c) => {
        const choice = asked(c) ? other(lists[c] ?? [], own) : [];
        return choice.length === 0 ? own : { ...own, prompts: [random.pick(choice)] };
      });
      conditions.push(await this.#worded('synonyms', `another word for each class, draw ${draw + 1}`, drawn));
    }
    return conditions;
  }

  async names(): Promise<RobustnessCondition[] | string> {
    const { dataset } = this.options;
    const now = this.base.protocol.queries.file;
    const plain = listOf(dataset);
    const lists = [plain, `${plain}-queries-sclip`].filter((name) => classListNames().includes(name));
    const others = lists.filter((name) => name !== now && !(now === 'dataset' && name === plain));
    if (others.length === 0) return `there is one list of names for ${dataset.name}`;
    const conditions: RobustnessCondition[] = [];
    for (const file of others) {
      const { background } = this.base.protocol.queries;
      const words = await wordLabels(dataset.classes, { file, background });
      conditions.push(await this.#worded('names', file === plain ? 'plain names' : `tuned names (${file})`, words));
    }
    return conditions;
  }

  async templates(): Promise<RobustnessCondition[] | string> {
    const { templates = defaultTemplates, dataset } = this.options;
    const now = this.base.protocol.templates;
    if (now === null) return `${this.base.provenance.system} words its prompts itself`;
    const conditions: RobustnessCondition[] = [];
    for (const set of templates.filter((name) => name !== now)) {
      const name = `templates ${set}`;
      const report = await run(this.options, name, dataset, { ...this.#changes, templates: set });
      conditions.push(this.scored('templates', name, report));
    }
    return conditions;
  }

  /** Words of the classes beside their own: the caller's, else those of the data set's list. */
  #synonymLists(): readonly (readonly string[])[] | undefined {
    const { synonyms, dataset } = this.options;
    const { classes } = dataset;
    if (synonyms) {
      if (synonyms.length === classes.length) return synonyms;
      throw new WordmaskError(
        'E_VOCAB',
        `synonyms has ${synonyms.length} entries, the data set has ${classes.length} classes: one list of words a class is needed`,
        { details: { value: synonyms.length, expected: classes.length } },
      );
    }
    const name = listOf(dataset);
    const found = [name, withBackground[name]]
      .map((list) => `${list}-synonyms`)
      .find((list) => classListNames().includes(list));
    if (!found) return undefined;
    // A list with or without a background serves the same classes.
    const entries = classList(found);
    const byName = new Map(entries.map((entry) => [squeezed(entry.name), entry.prompts]));
    const byPlace = entries.length === classes.length ? entries.map(({ prompts }) => prompts) : undefined;
    return classes.map((entry, c) => byPlace?.[c] ?? byName.get(squeezed(entry.name)) ?? entry.prompts);
  }

  /** The data set with other words; classes behind its own are distractors. */
  async #worded(test: RobustnessTest, name: string, words: readonly WordedClass[]): Promise<RobustnessCondition> {
    const { dataset } = this.options;
    const entries = words.map((word, c): ClassEntry => ({ ...dataset.classes[c], ...word }));
    const { background } = this.base.protocol.queries;
    const labels = await wordLabels(entries, { file: 'dataset', background });
    const hash = wordsHash(labels.map(({ prompts }) => prompts));
    const report = await run(
      this.options,
      name,
      { ...dataset, classes: entries },
      {
        ...this.#changes,
        queries: { file: 'dataset', hash, background },
      },
    );
    return this.scored(test, name, report);
  }

  scored(test: RobustnessCondition['test'], name: string, report: EvalReport): RobustnessCondition {
    const scores = this.#scores(report);
    const mIoU = Number.isNaN(scores.mIoU) ? null : scores.mIoU;
    const base = this.base.metrics.mIoU;
    return {
      test,
      name,
      mIoU,
      pixelAccuracy: Number.isNaN(scores.pixelAccuracy) ? null : scores.pixelAccuracy,
      difference: mIoU === null || base === null ? null : mIoU - base,
      labels: report.perClass.length,
      protocolHash: report.protocolHash,
    };
  }

  /** Over the data set's own classes; a distractor counts as background where the data set has one, else as no class. */
  #scores({ perClass, confusion, protocol }: EvalReport): ReturnType<typeof scoresOfAreas> {
    const own = this.options.dataset.classes.length;
    const background = this.options.dataset.classes.findIndex((entry) => entry.background);
    const first = perClass.slice(0, own);
    const areas = {
      intersection: first.map(({ intersection }) => intersection),
      labelArea: first.map(({ labelArea }) => labelArea),
      predictionArea: first.map(({ predictionArea }) => predictionArea),
    };
    if (background >= 0) {
      const extra = perClass.slice(own).reduce((sum, { predictionArea }) => sum + predictionArea, 0);
      areas.predictionArea[background] = (areas.predictionArea[background] as number) + extra;
      const columns = confusion.shape[1];
      for (const [i, cell] of confusion.cells.entries()) {
        const [row, column] = [Math.floor(cell / columns), cell % columns];
        if (row !== background || column < own || column >= perClass.length) continue;
        areas.intersection[background] = (areas.intersection[background] as number) + (confusion.counts[i] as number);
      }
    }
    return scoresOfAreas(areas, protocol.absent);
  }
}

/** The class list that a data set's classes are those of. */
function listOf({ name }: EvalDataset): string {
  return presetAlias[name] ?? name;
}

/** Lists of the same classes with or without a background, of which one has synonyms. */
const withBackground: Readonly<Record<string, string>> = { voc20: 'voc21', pc60: 'pc59' };

function squeezed(name: string): string {
  return name.toLowerCase().replace(/[\s_-]/g, '');
}

function unique(words: readonly string[]): string[] {
  return [...new Map(words.map((word) => [squeezed(word), word])).values()];
}
