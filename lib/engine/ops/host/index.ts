export * from './boundary.js';
export * from './confusion.js';
export * from './contours.js';
export * from './draw-scenes.js';
export * from './host-arrays.js';
export * from './png.js';
export * from './rle.js';
