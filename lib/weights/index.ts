/** Weights on disk: safetensors files and shards, names, checks, .npy arrays. */
export { checkFinite } from './check-finite.js';
export { type Coverage, type CoverageOptions, type KeyPlan, type KeyRule, type Shaped, assertCoverage, coverage, mapKeys } from './keymap.js';
export { type Npy, type NpyArray, encodeNpy, parseNpy, readNpy, writeNpy } from './npy.js';
export { refusePickle } from './pickle.js';
export {
  type OpenOptions, type SafetensorsDtype, SafetensorsFile, type TensorEntry, type TensorToWrite, decodeTensor, elementBytes, engineDtype, narrowInt64,
  openSafetensors, parseSafetensors, safetensorsDtypes, safetensorsLimits, writeSafetensors,
} from './safetensors.js';
export { type LocatedTensor, WeightSet, openWeights } from './weight-set.js';
