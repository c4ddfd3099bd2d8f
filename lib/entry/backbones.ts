/** `wordmask/backbones`: encoders for raw use. */
export {
  type Backbone,
  type BackboneInput,
  type LoadBackboneOptions,
  loadBackbone,
  preprocess,
} from '../registry/backbones.js';
