import { type OpCard, opCards, run, type Tensor } from '../engine/index.js';
export function pamr(guide: Tensor, masks: Tensor, o: { iterations: number; dilations: readonly number[] }): Tensor {
  return run(opCards().get('pamr') as OpCard, [guide, masks], { iterations: o.iterations })[0] as Tensor;
}
