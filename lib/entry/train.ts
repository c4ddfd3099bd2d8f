/** `wordmask/train`: tensors, ops, autograd, losses. */
export * from '../engine/index.js';
export * as losses from '../nn/losses/index.js';
