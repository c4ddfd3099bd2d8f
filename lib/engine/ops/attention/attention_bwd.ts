/** Gradients of attention, from its inputs alone: probabilities are computed again, not kept. */
import { defineOp, type SampleInput, type TensorSpec } from '../../card.js';
import { run } from '../../run.js';
import { rejectShape, sameShape } from '../../shapes.js';
import type { Tensor } from '../../tensor.js';
import { attentionBwdReference } from './reference.js';
import { type TermSample, termSamples } from './samples.js';
import { type AttentionTermAttrs, checkTerms, termAttrs, termInputs } from './shapes.js';

export type AttentionBwdAttrs = AttentionTermAttrs & {
  /** Gradients of bias and of (san) class masks. */
  termGrads: boolean;
  /** dP, before the softmax Jacobian. */
  returnMapGrads: boolean;
};

export const attentionBwdCard = defineOp<AttentionBwdAttrs>({
  name: 'attention_bwd',
  inputs: [...termInputs, 'dOut?', 'dLse?', 'dMaps?'],
  attrs: { ...termAttrs, termGrads: false, returnMapGrads: false },
  mixedDtypes: true,
  shape(specs, attrs) {
    const { batch, heads, nq, nk, d, dv, side } = checkTerms('attention_bwd', specs, attrs);
    const dtype = specs[0]!.dtype;
    const expected: readonly [number, readonly number[], TensorSpec['dtype']][] = [
      [9, [batch, nq, heads, dv], dtype],
      [10, [batch, heads, nq], side],
      [11, [batch, heads, nq, nk], side],
    ];
    for (const [i, shape, type] of expected) {
      const spec = specs[i];
      if (spec && (!sameShape(spec.shape, shape) || spec.dtype !== type))
        rejectShape('attention_bwd', `input ${i} to be ${type}[${shape.join(', ')}]`, specs);
    }
    if (specs[10] && attrs.source === 4)
      rejectShape('attention_bwd', 'no dLse (two softmaxes have no common LSE)', specs);
    return [
      { shape: [batch, nq, heads, d], dtype },
      { shape: [batch, nk, heads, d], dtype },
      { shape: [batch, nk, heads, dv], dtype },
      ...(attrs.termGrads && specs[3] ? [specs[3]] : []),
      ...(attrs.termGrads && specs[5] && attrs.classMode === 2 ? [specs[5]] : []),
      ...(specs[6]
        ? [
            { shape: [batch, nq, heads, d], dtype },
            { shape: [batch, nq, heads, dv], dtype },
          ]
        : []),
      ...(attrs.returnMapGrads ? [{ shape: [batch, heads, nq, nk], dtype: side }] : []),
    ];
  },
  reference: attentionBwdReference,
  samples: termSamples.flatMap((sample) => [
    upstream(sample, 'dO', true, false),
    upstream(sample, 'dO, dLSE and dMaps', true, true),
    upstream(sample, 'dMaps', false, true),
  ]),
  // Differences of nearly equal sums of rounded operands: kernels.md asks for 1e-2 from bf16.
  tolerance: { bf16: 1e-2, f16: 2e-3 },
  bench: [
    bench('vit-b16 one window', 1, 12, 197, 64),
    bench('vit-b16 four windows', 4, 12, 197, 64),
    bench('vit-l14-336', 1, 16, 577, 64),
  ],
});

function bench(name: string, batch: number, heads: number, n: number, d: number) {
  const qkv = { shape: [batch, heads, n, d] };
  const inputs = [qkv, qkv, qkv, ...Array.from({ length: 6 }, () => undefined), { shape: [batch, n, heads, d] }];
  return { name, inputs, attrs: { scale: 1 / Math.sqrt(d) }, flops: 10 * batch * heads * n * n * d };
}

function upstream(sample: TermSample, suffix: string, out: boolean, maps: boolean) {
  const [batch = 0, heads = 0, nq = 0] = sample.inputs[0]!.shape;
  const [nk = 0, dv = 0] = sample.inputs[2]!.shape.slice(2);
  const padded = Array.from({ length: 9 }, (_, i) => sample.inputs[i]);
  // Sums and maps are f32 beside narrower types; samples name one float type, so those run with dO alone.
  const dtypes = sample.dtypes && (maps ? (['f32', 'f64'] as const) : sample.dtypes);
  const inputs: (SampleInput | undefined)[] = [
    ...padded,
    out ? { shape: [batch, nq, heads, dv] } : undefined,
    maps && sample.attrs.source !== 4 ? { shape: [batch, heads, nq] } : undefined,
    maps ? { shape: [batch, heads, nq, nk] } : undefined,
  ];
  return {
    name: `${sample.name} ${suffix}`,
    inputs,
    attrs: { ...sample.attrs, termGrads: true, returnMapGrads: maps },
    ...(dtypes ? { dtypes } : {}),
  };
}

export interface AttentionGrads {
  /** [B, A, N, d], views of [B, N, A, d]. */
  readonly dq: Tensor;
  readonly dk: Tensor;
  readonly dv: Tensor;
  readonly bias?: Tensor;
  readonly classMasks?: Tensor;
  readonly selfKey?: Tensor;
  readonly selfValue?: Tensor;
  readonly maps?: Tensor;
}

/**
 * Gradients of an attention call, for its card. Inputs in the order of the card attention; `dOut` [B, Nq, A, dv],
 * `dLse` [B, A, Nq] and `dMaps` [B, A, Nq, Nk] are the gradients of its outputs, undefined where there is none.
 */
export function attentionBwd(
  inputs: readonly (Tensor | undefined)[],
  attrs: AttentionBwdAttrs,
  upstreams: { dOut?: Tensor | undefined; dLse?: Tensor | undefined; dMaps?: Tensor | undefined },
): AttentionGrads {
  const results = run(
    attentionBwdCard,
    [...Array.from({ length: 9 }, (_, i) => inputs[i]), upstreams.dOut, upstreams.dLse, upstreams.dMaps],
    attrs,
  );
  let next = 0;
  const take = () => results[next++] as Tensor;
  const heads = (present: unknown) => (present ? take().permute(0, 2, 1, 3) : undefined);
  const [dq, dk, dv] = [heads(true), heads(true), heads(true)] as [Tensor, Tensor, Tensor];
  const bias = attrs.termGrads && inputs[3] ? take() : undefined;
  const classMasks = attrs.termGrads && inputs[5] && attrs.classMode === 2 ? take() : undefined;
  const selfKey = heads(inputs[6]);
  const selfValue = heads(inputs[6]);
  const maps = attrs.returnMapGrads ? take() : undefined;
  return {
    dq,
    dk,
    dv,
    ...(bias && { bias }),
    ...(classMasks && { classMasks }),
    ...(selfKey && selfValue && { selfKey, selfValue }),
    ...(maps && { maps }),
  };
}
