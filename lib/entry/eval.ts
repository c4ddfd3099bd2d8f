/** `wordmask/eval`: metrics, protocols, evaluation and its reports. */
export * from '../eval/index.js';
