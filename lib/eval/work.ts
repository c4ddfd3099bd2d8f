/** The loop of an evaluation: several pictures in the model, their labels decoded and counted beside it. */
import { relative, resolve, sep } from 'node:path';
import type { EvalDataset, EvalItem, MadePicture } from '../data/dataset.js';
import type { Model } from '../pipelines/model.js';
import type { Segmentation } from '../pipelines/segmentation.js';
import { isWordmaskError, show, WordmaskError } from '../util/errors.js';
import { sha256File, writeFileAtomic } from '../util/files.js';
import type { EvaluateOptions } from './evaluate.js';
import type { Journal } from './journal.js';
import {
  type ComingLabel,
  type Counting,
  countMissed,
  countPicture,
  type PictureRecord,
  pictureScores,
  predictionPng,
  startLabel,
} from './picture.js';
import type { EvalImage } from './report-types.js';
import type { EvalSetup } from './setup.js';
import { Totals } from './totals.js';

/** Pictures whose counting may be under way while the next ones are computed. */
const countedBeside = 4;

/** Drawn pictures in the model at once. */
const madeAhead = 6;

/** Errors after which no other picture can succeed. */
const fatal = new Set(['E_DEVICE_LOST', 'E_DISPOSED', 'E_INTERNAL', 'E_DISK', 'E_ABORTED', 'E_OPTION', 'E_VOCAB']);

export interface ScoredPicture {
  readonly image: EvalImage;
  readonly timings: Readonly<Record<string, number>>;
}

export interface WorkRequest {
  readonly model: Model;
  readonly dataset: EvalDataset;
  readonly setup: EvalSetup;
  /** Places of the pictures to do. */
  readonly chosen: readonly number[];
  readonly journal: Journal | undefined;
  readonly options: EvaluateOptions;
}

/** A picture in the model. */
interface Job {
  readonly index: number;
  readonly item: EvalItem;
  readonly label: ComingLabel;
}

type Outcome = { readonly ok: true; readonly value: Segmentation } | { readonly ok: false; readonly error: unknown };
type ImageInput = string | MadePicture;

export class Work {
  /** What the report says of each picture, in the order of the data set once `run` is through. */
  readonly pictures: ScoredPicture[] = [];
  readonly totals: Totals;
  resumed = 0;
  #failed = 0;
  readonly #counting: Counting;
  readonly #jobs: Job[] = [];
  readonly #beside = new Set<Promise<void>>();
  #failure: unknown;

  constructor(private readonly request: WorkRequest) {
    const { dataset, setup } = request;
    this.totals = new Totals(dataset.classes.length);
    this.#counting = {
      classes: dataset.classes.map(({ name }, index) => ({ index, name })),
      ignore: setup.protocol.ignore,
      classOf: setup.classOf,
      boundary: request.options.boundary === true,
    };
  }

  async run(): Promise<void> {
    const { model, dataset, setup, chosen, options } = this.request;
    const open = await this.#unfinished();
    const stream = model.stream(this.#pictures(open), setup.vocabulary, {
      ...setup.options,
      signal: options.signal,
      onError: 'yield',
      // Pictures that are drawn are small, and drawing them waits too: more of them keep two processors busy.
      batch: dataset.source.layout === 'made' ? madeAhead : 'auto',
    });
    for await (const result of stream) {
      const job = this.#jobs[result.index] as Job;
      delete this.#jobs[result.index];
      this.#start(job, result);
      while (this.#beside.size >= countedBeside) await Promise.race(this.#beside);
      if (this.#failure !== undefined) break;
    }
    await Promise.all(this.#beside);
    if (this.#failure !== undefined) throw this.#failure;
    this.pictures.sort((a, b) => a.image.index - b.image.index);
    const left = chosen.length - this.pictures.length;
    if (left > 0)
      throw new WordmaskError('E_ABORTED', `stopped after ${this.pictures.length} of ${chosen.length} pictures`, {
        details: { done: this.pictures.length, left },
      });
  }

  /** Takes over what the journal holds of pictures whose files are still those; the rest is to be done. */
  async #unfinished(): Promise<number[]> {
    const { journal, chosen, dataset, options } = this.request;
    const open = new Set(chosen);
    for await (const record of journal?.records(options.signal) ?? []) {
      const item = dataset.items[record.index];
      if (record.status !== 'done' || !open.has(record.index) || item?.id !== record.id) continue;
      if (!(await isSame(item, record, options))) continue;
      this.#keep(record);
      open.delete(record.index);
      this.resumed++;
    }
    return [...open];
  }

  /** Counts are added up at once: of a picture only its scores stay. */
  #keep(record: PictureRecord): void {
    const { cells, counts, edges: __, timings, input: _, ...kept } = record;
    this.totals.add(record);
    this.pictures.push({ image: { ...kept, ...pictureScores({ cells, counts }, this.totals.numClasses) }, timings });
  }

  /** The model asks for a picture when it has room: then its label begins to be decoded too. */
  async *#pictures(open: readonly number[]): AsyncGenerator<ImageInput> {
    const { dataset, options } = this.request;
    for (const index of open) {
      if (options.stopped?.() || this.#failure !== undefined) return;
      const item = dataset.items[index] as EvalItem;
      const job = { index, item, label: startLabel(item, options.signal) };
      let picture: ImageInput;
      try {
        picture = item.picture ? await item.picture(options.signal) : item.image;
      } catch (error) {
        this.#start(job, { ok: false, error });
        continue;
      }
      this.#jobs.push(job);
      yield picture;
    }
  }

  #start(job: Job, outcome: Outcome): void {
    const work = this.#finish(job, outcome).catch((error: unknown) => {
      this.#failure ??= error;
    });
    const entry = work.then(() => void this.#beside.delete(entry));
    this.#beside.add(entry);
  }

  async #finish(job: Job, outcome: Outcome): Promise<void> {
    const { journal, chosen, options } = this.request;
    const record = await this.#record(job, outcome);
    this.#keep(record);
    if (record.status === 'failed') this.#failed++;
    await journal?.add(record);
    options.onProgress?.({
      ...{ done: this.pictures.length, failed: this.#failed, total: chosen.length, id: job.item.id },
    });
  }

  async #record({ index, item, label }: Job, outcome: Outcome): Promise<PictureRecord> {
    const { options } = this.request;
    try {
      if (!outcome.ok) throw outcome.error;
      const { value } = outcome;
      const counted = await countPicture(item, value, label, this.#counting);
      return {
        ...{ index, id: item.id, status: 'done', input: String(value.provenance.input) },
        ...{ width: value.width, height: value.height, ...counted },
        ...(value.warnings.length > 0 && { warnings: value.warnings }),
        ...(options.savePredictions !== undefined && (await this.#save(item, value))),
      };
    } catch (error) {
      options.signal?.throwIfAborted();
      if (options.onError !== 'skip' || !isWordmaskError(error) || fatal.has(error.code)) throw error;
      const { code, message } = error;
      const missed = await countMissed(item, label, this.#counting);
      return { index, id: item.id, status: 'failed', ...missed, code, message, timings: {} };
    }
  }

  async #save(item: EvalItem, result: Segmentation): Promise<Partial<PictureRecord>> {
    const { options } = this.request;
    const file = predictionPath(options.savePredictions as string, item.id);
    const { bytes, hash } = await predictionPng(result, this.#counting, options.signal);
    await writeFileAtomic(file.path, bytes, { createFolder: true, signal: options.signal });
    return { prediction: file.name, predictionHash: hash };
  }
}

/** Whether a picture of the journal is still the one in the data set, and its prediction is there. */
async function isSame(item: EvalItem, record: PictureRecord, { savePredictions }: EvaluateOptions): Promise<boolean> {
  const hashOf = (path: string) => sha256File(path).catch(() => undefined);
  if (!item.picture && (await hashOf(item.image)) !== record.input) return false;
  if (savePredictions === undefined) return true;
  return (await hashOf(predictionPath(savePredictions, item.id).path)) === record.predictionHash;
}

/** @throws E_USAGE for an id that would leave the folder */
function predictionPath(folder: string, id: string): { path: string; name: string } {
  const name = `${id}.png`;
  const path = resolve(folder, name);
  if (!path.startsWith(resolve(folder) + sep))
    throw new WordmaskError('E_USAGE', `the picture's id ${show(id)} names a file outside of ${folder}`);
  return { path, name: relative(resolve(folder), path).split(sep).join('/') };
}
