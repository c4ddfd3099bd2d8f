/** `wordmask/backbones`: encoders and matching models for raw use. */
export {
  type Backbone,
  type BackboneInput,
  type CrossAttention,
  type CrossAttentionPlace,
  type LoadBackboneOptions,
  loadBackbone,
  loadMatching,
  type MatchingModel,
  type MatchingTokens,
  preprocess,
} from '../registry/backbones.js';
