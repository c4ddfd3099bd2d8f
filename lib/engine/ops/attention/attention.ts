/**
 * O = softmax(scale * A B^T + bias + mask) V in one pass, for every variant of the project. The sources are named by
 * the papers: kk and the gaussian term are NACLIP's, qq ClearCLIP's, qq+kk SCLIP's; class tokens are those of MAFT and
 * SAN; the bit mask is that of Mask2Former's decoder.
 */
import { defineOp, once } from '../../card.js';
import { run } from '../../run.js';
import { rejectShape } from '../../shapes.js';
import type { Tensor } from '../../tensor.js';
import { attentionBwd } from './attention_bwd.js';
import { attentionReference } from './reference.js';
import { type TermSample, termSamples } from './samples.js';
import { type AttentionTermAttrs, checkTerms, termAttrs, termInputs } from './shapes.js';

/** termGrads: the gradient computes those of bias and of (san) class masks too; the forward pass does not read it. */
export type AttentionAttrs = AttentionTermAttrs & {
  returnLse: boolean;
  returnProbabilities: boolean;
  termGrads: boolean;
};

const forms = [
  { suffix: '', attrs: {} },
  { suffix: ' with LSE and map', attrs: { returnLse: true, returnProbabilities: true } },
];

export const attentionCard = defineOp<AttentionAttrs>({
  name: 'attention',
  inputs: termInputs,
  attrs: { ...termAttrs, returnLse: false, returnProbabilities: false, termGrads: true },
  mixedDtypes: true,
  shape(specs, attrs) {
    const { batch, heads, nq, nk, dv, side } = checkTerms('attention', specs, attrs);
    if (attrs.returnLse && attrs.source === 4)
      rejectShape('attention', 'a single softmax (two have no common LSE)', specs);
    return [
      { shape: [batch, nq, heads, dv], dtype: specs[0]!.dtype },
      ...(attrs.returnLse ? [{ shape: [batch, heads, nq], dtype: side }] : []),
      ...(attrs.returnProbabilities ? [{ shape: [batch, heads, nq, nk], dtype: side }] : []),
    ];
  },
  grad({ inputs, attrs: { returnLse, returnProbabilities, ...attrs }, grads }) {
    const dMaps = returnProbabilities ? grads[returnLse ? 2 : 1] : undefined;
    const all = once(() =>
      attentionBwd(
        inputs,
        { ...attrs, returnMapGrads: false },
        { dOut: grads[0], dLse: returnLse ? grads[1] : undefined, dMaps },
      ),
    );
    const term = (name: 'bias' | 'classMasks') => (attrs.termGrads ? () => all()[name] as Tensor : undefined);
    return [
      () => all().dq,
      () => all().dk,
      () => all().dv,
      term('bias'),
      undefined,
      attrs.classMode === 2 ? term('classMasks') : undefined,
      () => all().selfKey as Tensor,
      () => all().selfValue as Tensor,
    ];
  },
  reference: attentionReference,
  samples: termSamples.flatMap((sample) =>
    forms.map(({ suffix, attrs }) => ({
      ...plain(sample),
      name: sample.name + suffix,
      attrs: {
        ...sample.attrs,
        ...attrs,
        ...(attrs.returnLse && sample.attrs.source === 4 ? { returnLse: false } : {}),
      },
      grad: sample.grad !== false && (suffix === '' || sample.lse !== false || sample.attrs.source === 4),
    })),
  ),
  bench: [
    bench('vit-b16 one window', 1, 12, 197, 197, 64),
    bench('vit-b16 eight windows', 8, 12, 197, 197, 64),
    bench('vit-l14-336', 1, 16, 577, 577, 64),
    bench('vit-b16 448', 2, 12, 785, 785, 64),
    bench('naclip', 4, 12, 197, 197, 64, { source: 1, sigma: 5, gridHeight: 14, gridWidth: 14 }),
    bench('sclip', 4, 12, 197, 197, 64, { source: 4 }),
    bench('cross 100 x 4096', 1, 8, 100, 4096, 32),
    bench('text', 64, 8, 77, 77, 64, { causal: true }),
  ],
});

function plain({ inputs, dtypes }: TermSample) {
  return dtypes ? { inputs, dtypes } : { inputs };
}

function bench(
  name: string,
  batch: number,
  heads: number,
  nq: number,
  nk: number,
  d: number,
  attrs: Partial<AttentionAttrs> = {},
) {
  const inputs = [
    [nq, d],
    [nk, d],
    [nk, d],
  ].map(([n, width]) => ({ shape: [batch, heads, n as number, width as number] }));
  const flops = 4 * batch * heads * nq * nk * d * (attrs.source === 4 ? 2 : 1);
  return { name, inputs, attrs: { scale: 1 / Math.sqrt(d), ...attrs }, dtypes: ['f32', 'bf16'] as const, flops };
}

const sources = { qk: 0, kk: 1, qq: 2, vv: 3, 'qq+kk': 4 } as const;
export type AttentionSource = keyof typeof sources;

export interface AttentionOptions {
  /** What the similarity compares; 'qq+kk' adds two softmaxes, so rows sum to 2. Default 'qk'. */
  readonly source?: AttentionSource;
  /** Factor of the similarity; default 1 / sqrt(d). */
  readonly scale?: number;
  /** Query i sees keys 0..i. */
  readonly causal?: boolean;
  /** Adds exp(-distance^2 / (2 sigma^2)) between patches of the grid; tokens before the last h * w get 0. */
  readonly gaussian?: { readonly sigma: number; readonly height: number; readonly width: number };
  /** No similarity: the gaussian times scale * mean |a||b| of the window. */
  readonly nonly?: boolean;
  /** Added to the logits: float [B|1, A|1, Nq|1, Nk|1]. */
  readonly bias?: Tensor;
  /** u8 [B, Nq, ceil(Nk / 8)]: bit j of a row set = key j blocked, for all heads. */
  readonly mask?: Tensor;
  /** A row whose mask blocks every key is treated as unblocked. */
  readonly rescue?: boolean;
  /**
   * The first n tokens are copies of the class token, masks [B, A|1, n, P] or [B, n, P]. 'maft': a copy sees itself and
   * patches with mask >= 0.5. 'san': the masks are added, the class token (token n) and the other copies get -100.
   */
  readonly classTokens?: { readonly mode: 'maft' | 'san'; readonly masks: Tensor };
  /** One more key and value of each query's own: [B, A, Nq, d] and [B, A, Nq, dv]. */
  readonly self?: { readonly key: Tensor; readonly value: Tensor };
  /** Keys from this index on are blocked: i32 [B]. */
  readonly keyLengths?: Tensor;
}

export interface AttentionMaps {
  /** [B, A, Nq, dv], a view of [B, Nq, A, dv]. */
  readonly output: Tensor;
  /** Logarithm of each row's mass, f32 [B, A, Nq]; -infinity where everything is blocked. Absent for 'qq+kk'. */
  readonly lse?: Tensor;
  /** f32 [B, A, Nq, Nk], without the self column. */
  readonly probabilities: Tensor;
}

function parts(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options: AttentionOptions,
): { inputs: (Tensor | undefined)[]; attrs: AttentionTermAttrs & { termGrads: boolean } } {
  const { gaussian, classTokens, self } = options;
  const masks = classTokens && (classTokens.masks.rank === 3 ? unsqueezeHeads(classTokens.masks) : classTokens.masks);
  return {
    inputs: [q, k, v, options.bias, options.mask, masks, self?.key, self?.value, options.keyLengths],
    attrs: {
      source: sources[options.source ?? 'qk'],
      scale: options.scale ?? 1 / Math.sqrt(q.shape[3] as number),
      causal: options.causal ?? false,
      sigma: gaussian?.sigma ?? 0,
      gridHeight: gaussian?.height ?? 0,
      gridWidth: gaussian?.width ?? 0,
      nonly: options.nonly ?? false,
      rescue: options.rescue ?? false,
      classTokens: masks ? (masks.shape[2] as number) : 0,
      classMode: classTokens ? (classTokens.mode === 'maft' ? 1 : 2) : 0,
      termGrads: Boolean(options.bias?.requiresGrad || masks?.requiresGrad),
    },
  };
}

function unsqueezeHeads(masks: Tensor): Tensor {
  const [batch, n, patches] = masks.shape as [number, number, number];
  return masks.reshape(batch, 1, n, patches);
}

/**
 * Attention of q [B, A, Nq, d] over k [B, A, Nk, d] and v [B, A, Nk, dv], which may be strided views (of a packed QKV
 * tensor, say) without a copy.
 *
 * @returns [B, A, Nq, dv] as a view of contiguous [B, Nq, A, dv]: `permute(0, 2, 1, 3).reshape(B, Nq, A * dv)` is free
 * @throws E_OPTION when shapes, dtypes or options do not go together
 */
export function attention(q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions = {}): Tensor {
  const { inputs, attrs } = parts(q, k, v, options);
  return (run(attentionCard, inputs, attrs)[0] as Tensor).permute(0, 2, 1, 3);
}

/** Like `attention`, with the probabilities and the logarithm of each row's mass. */
export function attentionMaps(q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions = {}): AttentionMaps {
  const { inputs, attrs } = parts(q, k, v, options);
  const returnLse = attrs.source !== sources['qq+kk'];
  const [output, ...rest] = run(attentionCard, inputs, { ...attrs, returnLse, returnProbabilities: true }) as [
    Tensor,
    ...Tensor[],
  ];
  const probabilities = rest.at(-1) as Tensor;
  return { output: output.permute(0, 2, 1, 3), probabilities, ...(returnLse ? { lse: rest[0] as Tensor } : {}) };
}
