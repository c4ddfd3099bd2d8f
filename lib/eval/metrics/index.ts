/** Metrics: each a pure function and an accumulator whose shards merge to what one pass gives. */
export { Boundary, boundaryScores, type BoundaryScores } from './boundary.js';
export { Confusion, confusion, reduceZeroLabel, type ConfusionMatrix } from './confusion.js';
export type { ClassOptions, LabelMap } from './maps.js';
export { MaskAp, maskAp, type ApPrediction, type ApTruth, type MaskApScores } from './mask-ap.js';
export {
  PanopticQuality, panopticQuality, type CategoryQuality, type PanopticAverage, type PanopticCategory, type PanopticFiles, type PanopticMap, type PanopticScores, type PanopticSegment,
} from './panoptic.js';
export { harmonic, semanticScores, type SemanticOptions, type SemanticScores } from './semantic.js';
