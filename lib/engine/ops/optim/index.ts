export { type AdamwGroup, adamwStep } from './adamw.js';
export { blend } from './blend.js';
export { globalNorm } from './global_norm.js';
export { sgdStep } from './sgd.js';
