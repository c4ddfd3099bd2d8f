export * from './window_patches.js';
