export { add } from './add.js';
export { firstNonFinite } from './first_non_finite.js';
export { sumTo } from './sum_to.js';
export { type Activation, activations } from './activation.js';
export { activationBwd } from './activation_bwd.js';
export { type LinearOptions, linear } from './linear.js';
export { type LinearPackedOptions, linearPacked } from './linear_packed.js';
export { matmul } from './matmul.js';
export { type PackedLinear, packLinear } from './pack_linear.js';
