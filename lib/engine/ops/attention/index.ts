export * from './attention.js';
export * from './attention_bwd.js';
export * from './omega.js';
