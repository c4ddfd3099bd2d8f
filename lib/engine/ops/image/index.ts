export * from './connected_components.js';
export * from './normalise_image.js';
export * from './resize.js';
