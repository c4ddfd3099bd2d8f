/** The generic call of an op: every op function of lib/engine/ops ends here. */
import type { Attrs, OpCard } from './card.js';
import type { Tensor } from './tensor.js';

export declare function run<A extends Attrs>(card: OpCard<A>, inputs: readonly (Tensor | undefined)[], attrs?: Partial<A>): Tensor[];
