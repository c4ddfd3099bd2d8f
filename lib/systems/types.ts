/** What every unit of this layer offers: its inference side, and what a trainable one has beside it. */
import type { OpenedClip } from '../backbones/clip/index.js';
import type { Backbone } from '../nn/backbone.js';
import type { MatchingModel } from '../nn/matching.js';
import type { DenseSystemModule } from '../post/dense-system.js';
import type { PredictorModule } from '../post/predictor.js';

export type { Trainable, TrainableRequest, TrainSystem } from '../nn/trainable.js';
export type { DenseSystemModule } from '../post/dense-system.js';
export type { OpenedPredictor, OpenRequest, PredictorFolder } from '../post/predictor.js';

/** What opens the folder of a role, with the dtype and checks that the request names. The caller disposes what it opened. */
export interface SystemOpeners {
  /** @throws E_MODEL_FORMAT for a model without matching head */
  matching(role: string): Promise<MatchingModel>;
  clip(role: string): Promise<Backbone>;
  /** A CLIP whose last vision block lets gradients through to its input. */
  clipTowers(role: string): Promise<OpenedClip>;
}

export type PredictorSystemModule = PredictorModule<object, SystemOpeners>;
export type SystemModule = DenseSystemModule | PredictorSystemModule;
