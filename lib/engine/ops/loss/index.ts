export { type AlignmentStats, alignmentStats } from './alignment_stats.js';
export { bceLogits } from './bce_logits.js';
export { crossEntropy } from './cross_entropy.js';
