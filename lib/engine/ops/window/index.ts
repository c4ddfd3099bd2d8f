export * from './class_probabilities.js';
export { patchify } from './patchify.js';
export * from './score_finish.js';
export * from './score_update.js';
export * from './window_merge.js';
export * from './window_patches.js';
export * from './window_upsample.js';
