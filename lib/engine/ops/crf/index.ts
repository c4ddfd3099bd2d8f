export * from './dense_crf.js';
export * from './pamr.js';
