/** `wordmask`: name things in words, get pixel masks. */
export { type DeviceInfo, devices } from '../engine/index.js';
export type { ImageInput } from '../image/decode.js';
export { Mask } from '../image/mask.js';
export { Features } from '../pipelines/features.js';
export { Model, type ModelInfo, type VocabularyInput } from '../pipelines/model.js';
export { type OpenOptions, open } from '../pipelines/open.js';
export { type CallPlan, planCall as plan } from '../pipelines/plan.js';
export { saveTuning } from '../pipelines/save-tuning.js';
export type { OutputName, SegmentOptions } from '../pipelines/segment-options.js';
export { type Segment, Segmentation } from '../pipelines/segmentation.js';
export type { StreamOptions, StreamResult } from '../pipelines/stream.js';
export type { ThresholdScores, TruthMap } from '../pipelines/threshold-curve.js';
export type { TuneOptions, TuneResult } from '../pipelines/tune.js';
export { Vocabulary } from '../pipelines/vocabulary.js';
export { registerSystem } from '../registry/systems.js';
export type { BackgroundInput, LabelInput, VocabularyOptions } from '../text/index.js';
export { type ErrorCode, WordmaskError } from '../util/errors.js';
