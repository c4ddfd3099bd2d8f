export { type AlignmentStats, alignmentStats } from './alignment_stats.js';
export { crossEntropy } from './cross_entropy.js';
