export * from './attention.js';
export * from './attention_bwd.js';
export * from './attention_cam.js';
export * from './mask_bits.js';
export * from './omega.js';
export * from './self_attention.js';
