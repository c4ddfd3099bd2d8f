/** The engine's face for the layers above. */
export { type Cancellation, cancellation, withSignal } from './abort.js';
export * from './card.js';
export { isolated, noGrad, onDevice, recording } from './context.js';
export * from './device.js';
export * from './dtype.js';
export { freeze, type HasParameters, type PathRule, pathRule } from './grad/freeze.js';
export { type BackwardOptions, backward, checkpoint, Grads, requireGrad, stopGradient } from './grad/tape.js';
export { hostCall, hostCallSync } from './host.js';
export { type MappedFile, mapFile } from './mapped.js';
export * from './ops/index.js';
export { Program, Programs } from './program.js';
export { run } from './run.js';
export { adopt, keep, retain, scope } from './scope.js';
export * from './shapes.js';
export { type HostArray, Parameter, Tensor } from './tensor.js';
