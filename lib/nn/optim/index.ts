/** Optimisers and what belongs to them. */
export { AdamW, type AdamWOptions } from './adamw.js';
export { Ema, type EmaOptions } from './ema.js';
export { type ClippedNorm, clipGradNorm, GradientSum } from './gradients.js';
export type { ParameterGroup } from './groups.js';
export { Muon, type MuonOptions, type OrthogonaliseOptions, orthogonalise } from './muon.js';
export type { Gradients, Optimiser, StepOptions } from './optimiser.js';
export { Sgd, type SgdOptions } from './sgd.js';
