export * from './attention.js';
export * from './omega.js';
