export * from './normalise_image.js';
export * from './resize.js';
