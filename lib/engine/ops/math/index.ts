export { type Activation, activations } from './activation.js';
export { activationBwd } from './activation_bwd.js';
export { cast } from './cast.js';
export { type Conv2dOptions, conv2d } from './conv2d.js';
export { cosineLogits } from './cosine_logits.js';
export { type DropoutOptions, dropout } from './dropout.js';
export { add, div, equal, greater, less, maximum, minimum, mul, sub } from './elementwise_binary.js';
export {
  abs,
  clamp,
  exp,
  gelu,
  geluTanh,
  log,
  neg,
  powScalar,
  quickGelu,
  relu,
  rsqrt,
  scaleShift,
  sigmoid,
  silu,
  sqrt,
  square,
  tanh,
} from './elementwise_unary.js';
export { firstNonFinite } from './first_non_finite.js';
export { l2Normalise, minMaxScale } from './l2_normalise.js';
export { layerNorm } from './layer_norm.js';
export { type LinearOptions, linear } from './linear.js';
export { linearBwdInput, linearBwdWeight } from './linear_bwd.js';
export { type LinearPackedOptions, linearPacked } from './linear_packed.js';
export { matmul } from './matmul.js';
export { type MlpMap, type MlpOptions, mlp } from './mlp.js';
export { type PackedLinear, packLinear } from './pack_linear.js';
export { max, mean, min, sum } from './reduce.js';
export { argmax, topk } from './select.js';
export { logSoftmax, softmax } from './softmax.js';
export { sumTo } from './sum_to.js';
export { where } from './where.js';
