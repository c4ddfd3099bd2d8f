/** What a trainer needs of a model: the contract between `lib/train` and the systems that can be trained. */
import type { Tensor, TypedArray } from '../engine/index.js';
import type { PairSample } from '../util/pair-sample.js';
import type { Random } from '../util/random.js';

export type { PairImage, PairSample } from '../util/pair-sample.js';

/** Host arrays of one batch, by name, each with its shape; what they are called is the system's own affair. */
export type HostBatch = Readonly<Record<string, { readonly data: TypedArray; readonly shape: readonly number[] }>>;

/** Where in the run a batch is. Everything random is drawn from `random`, so that a resumed run repeats it. */
export interface StepContext {
  /** Optimiser step, from 0. */
  readonly step: number;
  /** Optimiser steps of the whole run. */
  readonly steps: number;
  /** Part of the step, from 0, where gradients are accumulated over several batches. */
  readonly part: number;
  /** A function of seed, step and part: the same in `prepare` and `losses`, each starting it anew. */
  readonly random: Random;
  readonly compute: 'f32' | 'bf16';
}

/** Named scalars; `total` is what is differentiated, the others are logged. */
export type Losses = Readonly<Record<string, Tensor>> & { readonly total: Tensor };

export interface Trainable {
  /** The f32 tensors that are trained, by path; each requires a gradient. The optimiser writes them in place. */
  readonly parameters: ReadonlyMap<string, Tensor>;
  /** Turns samples into arrays (crop, tokenise, ...). Runs ahead of the step; draws from `context.random` alone. */
  prepare(samples: readonly PairSample[], context: StepContext): Promise<HostBatch> | HostBatch;
  /** Forward on the tape, inside the trainer's scope. */
  losses(batch: HostBatch, context: StepContext): Losses;
  /** Called after each optimiser update, for what the update must not leave as it is (a scale kept below its limit). */
  afterUpdate?(): void;
  /** Values of this step besides the losses, for the log: scalars such as the temperature. Called now and then. */
  report?(): Promise<Readonly<Record<string, number>>>;
  /** Figures of the system's own test, for the log; called every `eval.every` steps. */
  evaluate?(): Promise<Readonly<Record<string, number>>>;
  /** Small files that make a checkpoint a model folder: config.json, tokenizer.json, wordmask.json. */
  describe(): Promise<Readonly<Record<string, string | Uint8Array>>> | Readonly<Record<string, string | Uint8Array>>;
  /** Tensors of model.safetensors by name; the default is `parameters`. Must hold every trained tensor, for resume reads them back. */
  exported?(): ReadonlyMap<string, Tensor>;
  dispose(): void;
}

/** Pairs that are not learnt from. */
export interface HeldOut {
  readonly samples: readonly PairSample[];
  /** Names of the classes that the samples' `labels` count, where they have any. */
  readonly classes?: readonly string[];
}

/** What a recipe hands to a system. */
export interface TrainableRequest {
  /** The recipe's `model`: sizes and options of the system, checked by it. */
  readonly model: Readonly<Record<string, unknown>>;
  /** The recipe's `losses`: weights and options, checked by the system. */
  readonly losses: Readonly<Record<string, unknown>>;
  /** Folder of the model that the training starts from, if the recipe names one. */
  readonly base?: string;
  /** What to write into wordmask.json for it: a built-in name, a hub id, or a path from a checkpoint's folder. */
  readonly baseName?: string;
  /** Folder that relative paths of the recipe start from; the working folder by default. */
  readonly folder?: string;
  readonly compute: 'f32' | 'bf16';
  /** Initial values are drawn from here. */
  readonly random: Random;
  /** Captions of the data, for what is learnt from them (a tokenizer); the first `limit` of a pass. */
  captions(limit: number): Promise<readonly string[]>;
  /** Pairs for the system's own test; absent where the recipe asks for none or the data have none. */
  readonly heldOut?: () => Promise<HeldOut>;
  readonly signal?: AbortSignal;
}

/** The `train` entry of a system in lib/registry/systems.ts. Unknown keys of `model` and `losses` throw E_OPTION. */
export type TrainSystem = (request: TrainableRequest) => Promise<Trainable>;
