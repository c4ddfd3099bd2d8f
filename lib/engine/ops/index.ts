/** All op cards and their typed functions, by group. */
export * from './attention/index.js';
export * from './crf/index.js';
export * from './host/index.js';
export * from './image/index.js';
export * from './loss/index.js';
export * from './math/index.js';
export * from './optim/index.js';
export * from './shape/index.js';
export * from './window/index.js';
