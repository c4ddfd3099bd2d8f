/** Metrics: each a pure function and an accumulator whose shards merge to what one pass gives. */
export { Boundary, type BoundaryScores, boundaryScores } from './boundary.js';
export { Confusion, type ConfusionMatrix, confusion, reduceZeroLabel } from './confusion.js';
export type { ClassOptions, LabelMap } from './maps.js';
export { type ApPrediction, type ApTruth, MaskAp, type MaskApScores, maskAp } from './mask-ap.js';
export {
  type CategoryQuality,
  type PanopticAverage,
  type PanopticCategory,
  type PanopticFiles,
  type PanopticMap,
  PanopticQuality,
  type PanopticScores,
  type PanopticSegment,
  panopticQuality,
} from './panoptic.js';
export { harmonic, type SemanticOptions, type SemanticScores, semanticScores } from './semantic.js';
