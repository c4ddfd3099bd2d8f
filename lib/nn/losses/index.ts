/** Losses: of published systems, one file each, and those that many share. All compute in f32. */
export { type BinaryOptions, binaryCrossEntropy, dice, type FocalOptions, focal } from './binary.js';
export { type CachedContrastiveOptions, type CachedOptions, cachedContrastive, cachedLoss } from './cached.js';
export { type ContrastiveOptions, contrastive } from './contrastive.js';
export {
  type DistillOptions,
  type InfoNceOptions,
  infoNce,
  kullbackLeibler,
  type SmoothL1Options,
  smoothL1,
  type TripletOptions,
  triplet,
} from './distance.js';
export { hardNegatives, matchLoss, negativeNoise } from './matching.js';
export {
  type MgcaLosses,
  type MgcaLossOptions,
  mgca,
  mgcaCounts,
  mgcaFromStats,
  mgcaLossDefaults,
  mgcaLossOptions,
  mgcaStats,
} from './mgca.js';
export type { Reduction } from './reduce.js';
export { type NounPatchOptions, nounPatch, valuePath } from './value-path.js';
