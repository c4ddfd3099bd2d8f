/** `wordmask/native`: kernels on host arrays, and what another native add-on needs to link to this one. */
export type { ResizeMode } from '../engine/index.js';
export { abiVersion, capi, cmakeDir, includeDir } from '../engine/neighbours.js';
export { slidingWindows, type WindowOptions } from '../image/window-plan.js';
export {
  type ArrayAttentionOptions,
  type ArrayInput,
  type ArrayResizeOptions,
  type ArrayResult,
  attention,
  connectedComponents,
  type DenseCrfOptions,
  denseCrf,
  gaussianBlur,
  pamr,
  resize,
} from '../post/arrays.js';
export { WordmaskError } from '../util/errors.js';
