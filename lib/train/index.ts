/** Training: recipes, runs, checkpoints. */
export type { PairImage, PairSample } from '../data/types.js';
export type {
  HostBatch,
  Losses,
  StepContext,
  Trainable,
  TrainableRequest,
  TrainSystem,
} from '../nn/trainable.js';
export { registerTrainable, trainableNames } from '../registry/trainable.js';
export type { Checkpoint } from '../weights/index.js';
export { findCheckpoint, verifyCheckpoint } from '../weights/index.js';
export { type MetricsRecord, readMetrics } from './metrics.js';
export { checkRecipe, type Recipe, type RecipeInput, readRecipe } from './recipe.js';
export type { TrainProgress } from './run.js';
export { type TrainOptions, type TrainResult, train } from './train.js';
