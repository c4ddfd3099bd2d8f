/** What a trainable system exports beside its inference side. */
export type { Trainable, TrainableRequest, TrainSystem } from '../nn/trainable.js';
