/** `wordmask/eval`: data sets, metrics, protocols, evaluation and its reports. */
export {
  type ConvertOptions,
  type ConvertResult,
  conversionKinds,
  convertDataset,
  type DatasetInfo,
  type DatasetOptions,
  type DatasetSource,
  datasetInfo,
  datasetNames,
  type EvalDataset,
  type EvalItem,
  type LabelPlane,
  type LabelRule,
  openDataset,
  type PanopticTruth,
} from '../data/dataset.js';
export * from '../eval/index.js';
