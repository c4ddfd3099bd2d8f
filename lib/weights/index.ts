/** Weights on disk: safetensors files and shards, names, checks, .npy arrays. */
export { checkFinite } from './check-finite.js';
export {
  type Checkpoint,
  type CheckpointFile,
  findCheckpoint,
  listCheckpoints,
  pruneCheckpoints,
  removeLeftovers,
  setAsideAfter,
  verifyCheckpoint,
  writeCheckpoint,
} from './checkpoint.js';
export {
  assertCoverage,
  type Coverage,
  type CoverageOptions,
  coverage,
  type KeyMap,
  type KeyPlan,
  type KeyRule,
  mapKeys,
  type Shaped,
} from './keymap.js';
export {
  loadModelTensors,
  type ModelTensorsOptions,
  modelPlans,
  type ReadModel,
  type ReadModelOptions,
  readModelTensors,
} from './model-tensors.js';
export { encodeNpy, type Npy, type NpyArray, parseNpy, readNpy, writeNpy } from './npy.js';
export { openTorch } from './pickle.js';
export {
  decodeTensor,
  elementBytes,
  engineDtype,
  narrowInt64,
  type OpenOptions,
  openSafetensors,
  parseSafetensors,
  type SafetensorsDtype,
  SafetensorsFile,
  safetensorsDtypes,
  safetensorsLimits,
  type TensorEntry,
} from './safetensors.js';
export { type TensorToWrite, writeSafetensors } from './safetensors-writer.js';
export type { TensorFile } from './tensor-file.js';
export { loadTensors } from './tensors.js';
export { type Converted, type ConvertOptions, convertTorch } from './torch/convert.js';
export { TorchFile } from './torch/torch-file.js';
export { type LocatedTensor, openWeights, WeightSet } from './weight-set.js';
