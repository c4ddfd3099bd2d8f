/** `wordmask/eval`: metrics and reports. */
export * from '../eval/metrics/index.js';
