export * from './connected_components.js';
export * from './gaussian_blur.js';
export * from './normalise_image.js';
export * from './resize.js';
