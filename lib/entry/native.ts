/** `wordmask/native`: kernels on host arrays, and what another native add-on needs to link to this one. */
export { type DType, type ResizeMode, Tensor } from '../engine/index.js';
export { abiVersion, capi, cmakeDir, includeDir } from '../engine/neighbours.js';
export { slidingWindows, type WindowOptions } from '../image/window-plan.js';
export {
  type ArrayAttentionOptions,
  type ArrayInput,
  type ArrayPamrOptions,
  type ArrayResizeOptions,
  type ArrayResult,
  attention,
  type CrfImage,
  connectedComponents,
  type DenseCrfOptions,
  denseCrf,
  gaussianBlur,
  pamr,
  resize,
} from '../post/arrays.js';
export { WordmaskError } from '../util/errors.js';
