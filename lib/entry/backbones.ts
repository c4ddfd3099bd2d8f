/** `wordmask/backbones`: encoders for raw use. */
export { type Backbone, type BackboneInput, type LoadBackboneOptions, loadBackbone } from '../registry/backbones.js';
