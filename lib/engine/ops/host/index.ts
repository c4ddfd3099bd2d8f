export * from './confusion.js';
export * from './host-arrays.js';
export * from './png.js';
export * from './rle.js';
