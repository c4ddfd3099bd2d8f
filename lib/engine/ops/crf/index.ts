export * from './dense_crf.js';
