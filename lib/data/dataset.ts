/** Evaluation data sets: labelled pictures read from their standard folders (evaluation.md section 8). */
export {
  type DatasetOptions,
  type DatasetSource,
  type EvalDataset,
  type EvalItem,
  type LabelPlane,
  type LabelRule,
  labelRules,
  type MadePicture,
  type PanopticSegment,
  type PanopticTruth,
} from './types.js';
