/** Opened systems over the reference folder, and small windows, for the tests of `segment`. */
import type { Model } from '#lib/pipelines/model.js';
import { open } from '#lib/pipelines/open.js';
import type { SegmentOptions } from '#lib/pipelines/segment-options.js';
import { Vocabulary } from '#lib/pipelines/vocabulary.js';
import { clipTinyFolder, needsData } from './data.js';

const folder = needsData.skip ? '' : await clipTinyFolder();
const opened = new Map<string, Promise<Model>>();

/** One model a system, opened on first use. */
export const modelOf = (system: string): Promise<Model> => {
  if (!opened.has(system)) opened.set(system, open(`${system}:${folder}`));
  return opened.get(system) as Promise<Model>;
};

/** For the teardown of a test file. */
export async function disposeModels(): Promise<void> {
  for (const model of opened.values()) await (await model).dispose();
}

/** Small windows, so that a small picture has many. */
export const small: SegmentOptions = { shortSide: 64, crop: 32, stride: 16, refine: 'none' };
export const everything: SegmentOptions['outputs'] = ['labels', 'score', 'margin', 'entropy', 'topk', 'probabilities'];
export const list = (labels: string[]) => Vocabulary.from(labels, { templates: 'none' });

/** Runs `fn` under another budget of the model. */
export async function withBudget<T>(model: Model, budget: number, fn: () => Promise<T>): Promise<T> {
  const parts = model.dense.parts as { budget: number };
  const before = parts.budget;
  parts.budget = budget;
  try {
    return await fn();
  } finally {
    parts.budget = before;
  }
}
