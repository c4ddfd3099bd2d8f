/** `wordmask/native`: kernels on host arrays, and what another native add-on needs to link to this one. */
export { abiVersion, capi, cmakeDir, includeDir } from '../engine/neighbours.js';
export { slidingWindows } from '../image/window-plan.js';
export {
  type ArrayInput, type ArrayResult, attention, connectedComponents, denseCrf, gaussianBlur, pamr, resize,
} from '../post/arrays.js';
