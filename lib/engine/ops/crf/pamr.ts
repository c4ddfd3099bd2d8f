/**
 * Pixel-adaptive mask refinement: every iteration replaces a mask by the affinity-weighted mean of its neighbours.
 * Araslanov & Roth, CVPR 2020, section 3.3, in the form of TCL and NACLIP.
 */
import { WordmaskError } from '../../../util/errors.js';
import { defineOp, type OpCard, type RefArray } from '../../card.js';
import { run } from '../../run.js';
import { rejectShape } from '../../shapes.js';
import type { Tensor } from '../../tensor.js';

export const pamrMaxDilations = 8;
export const pamrMaxDilation = 512;
export const pamrMaxIterations = 10_000;

type PamrAttrs = Record<string, number>;

/** `iterations`, `count`, then `d0` .. `d7`. */
function attrsOf(dilations: readonly number[], iterations: number): PamrAttrs {
  const attrs: PamrAttrs = { iterations, count: dilations.length };
  for (let k = 0; k < pamrMaxDilations; k++) attrs[`d${k}`] = dilations[k] ?? 0;
  return attrs;
}

const dilationsOf = (attrs: PamrAttrs) =>
  Array.from({ length: attrs.count as number }, (_, k) => attrs[`d${k}`] as number);

/** Clamped indices of the eight neighbours of (y, x) at every dilation. */
function neighboursOf(y: number, x: number, height: number, width: number, dilations: readonly number[]): number[] {
  const clamp = (i: number, n: number) => Math.min(Math.max(i, 0), n - 1);
  const steps = [-1, 0, 1];
  return dilations.flatMap((d) =>
    steps.flatMap((dy) =>
      steps
        .filter((dx) => dx !== 0 || dy !== 0)
        .map((dx) => clamp(y + dy * d, height) * width + clamp(x + dx * d, width)),
    ),
  );
}

function affinity(guide: RefArray, p: number, neighbours: readonly number[], repeats: number): number[] {
  const [channels, height, width] = guide.shape as [number, number, number];
  const scores = neighbours.map(() => 0);
  for (let c = 0; c < channels; c++) {
    const at = (i: number) => guide.data[c * height * width + i] as number;
    const values = [...neighbours.map(at), ...new Array<number>(repeats).fill(at(p))];
    const mean = values.reduce((a, v) => a + v, 0) / values.length;
    const std = Math.sqrt(values.reduce((a, v) => a + (v - mean) ** 2, 0) / (values.length - 1));
    neighbours.forEach((n, k) => {
      scores[k] = (scores[k] as number) - Math.abs(at(n) - at(p)) / (1e-8 + 0.1 * std) / channels;
    });
  }
  const top = Math.max(...scores);
  const e = scores.map((s) => Math.exp(s - top));
  const sum = e.reduce((a, v) => a + v, 0);
  return e.map((v) => v / sum);
}

function reference(inputs: readonly (RefArray | undefined)[], attrs: PamrAttrs): RefArray[] {
  const [guide, masks] = inputs as [RefArray, RefArray];
  const [classes, height, width] = masks.shape as [number, number, number];
  const dilations = dilationsOf(attrs);
  const pixels = height * width;
  const near = Array.from({ length: pixels }, (_, p) =>
    neighboursOf(Math.floor(p / width), p % width, height, width, dilations),
  );
  const weights = near.map((neighbours, p) => affinity(guide, p, neighbours, dilations.length));
  let data = masks.data;
  for (let iteration = 0; iteration < (attrs.iterations as number); iteration++) {
    const from = data;
    data = Float64Array.from({ length: classes * pixels }, (_, i) => {
      const [plane, p] = [i - (i % pixels), i % pixels];
      return (near[p] as number[]).reduce(
        (sum, n, k) => sum + ((weights[p] as number[])[k] as number) * (from[plane + n] as number),
        0,
      );
    });
  }
  return [{ data, shape: masks.shape }];
}

const guided = (channels: number, classes: number, height: number, width: number) => [
  { shape: [channels, height, width] },
  { shape: [classes, height, width] },
];
const f32 = ['f32'] as const;

export const pamrCard: OpCard<PamrAttrs> = defineOp<PamrAttrs>({
  name: 'pamr',
  inputs: ['guide', 'masks'],
  attrs: attrsOf([8, 16], 10),
  shape(inputs, attrs) {
    const [guide, masks] = inputs;
    const fits =
      guide?.dtype === 'f32' &&
      masks?.dtype === 'f32' &&
      guide.shape.length === 3 &&
      masks.shape.length === 3 &&
      guide.shape[1] === masks.shape[1] &&
      guide.shape[2] === masks.shape[2] &&
      guide.shape[0] === 3;
    if (!fits) rejectShape('pamr', 'guide f32 [3, H, W] and masks f32 [C, H, W] of one size', inputs);
    const { iterations, count } = attrs as { iterations: number; count: number };
    if (!Number.isInteger(iterations) || iterations < 0 || iterations > pamrMaxIterations) {
      throw new WordmaskError(
        'E_OPTION',
        `pamr: iterations must be a whole number from 0 to ${pamrMaxIterations}, got ${iterations}`,
        { details: { iterations } },
      );
    }
    if (!Number.isInteger(count) || count < 1 || count > pamrMaxDilations) {
      throw new WordmaskError('E_OPTION', `pamr: takes 1 to ${pamrMaxDilations} dilations, got ${count}`, {
        details: { count },
      });
    }
    const bad = dilationsOf(attrs).find((d) => !Number.isInteger(d) || d < 1 || d > pamrMaxDilation);
    if (bad !== undefined) {
      throw new WordmaskError(
        'E_OPTION',
        `pamr: a dilation must be a whole number of pixels from 1 to ${pamrMaxDilation}, got ${bad}`,
        { details: { dilation: bad } },
      );
    }
    return [masks];
  },
  reference,
  samples: [
    { name: 'NACLIP 19x21', inputs: guided(3, 4, 19, 21), attrs: attrsOf([8, 16], 3), dtypes: f32 },
    { name: 'TCL dilations 14x37', inputs: guided(3, 7, 14, 37), attrs: attrsOf([1, 2, 4, 8, 12, 24], 2), dtypes: f32 },
    { name: 'three dilations out of order', inputs: guided(3, 2, 11, 18), attrs: attrsOf([5, 1, 3], 4), dtypes: f32 },
    { name: 'eight dilations', inputs: guided(3, 1, 9, 17), attrs: attrsOf([1, 2, 3, 4, 5, 6, 7, 8], 1), dtypes: f32 },
    {
      name: 'flat guide',
      inputs: [{ shape: [3, 6, 7], fill: { values: [0.3] } }, { shape: [2, 6, 7] }],
      attrs: attrsOf([1, 2], 3),
      dtypes: f32,
    },
    { name: 'one pixel', inputs: guided(3, 3, 1, 1), attrs: attrsOf([4], 2), dtypes: f32 },
    { name: 'one column', inputs: guided(3, 2, 23, 1), attrs: attrsOf([1, 5], 2), dtypes: f32 },
    // Reaches that leave a tile of a device room for one mask, and for none.
    { name: 'reach 60', inputs: guided(3, 3, 5, 67), attrs: attrsOf([2, 60], 2), dtypes: f32 },
    { name: 'reach 90', inputs: guided(3, 5, 41, 6), attrs: attrsOf([90], 2), dtypes: f32 },
    { name: 'no iteration', inputs: guided(3, 2, 3, 4), attrs: attrsOf([1], 0), dtypes: f32 },
    { name: 'no class', inputs: guided(3, 0, 3, 4), attrs: attrsOf([1], 2), dtypes: f32 },
  ],
  bench: [
    {
      name: '500x375 C21 {8,16} x10',
      inputs: guided(3, 21, 375, 500),
      attrs: attrsOf([8, 16], 10),
      dtypes: f32,
      flops: 2 * 10 * 16 * 21 * 375 * 500,
    },
    {
      name: '112x112 C21 TCL x10',
      inputs: guided(3, 21, 112, 112),
      attrs: attrsOf([1, 2, 4, 8, 12, 24], 10),
      dtypes: f32,
      flops: 2 * 10 * 48 * 21 * 112 * 112,
    },
  ],
  tolerance: { f32: 1e-4 },
});

/**
 * @param guide f32 [3, H, W]
 * @param masks f32 [C, H, W]
 * @returns refined masks f32 [C, H, W]
 */
export function pamrOp(guide: Tensor, masks: Tensor, dilations: readonly number[], iterations: number): Tensor {
  if (dilations.length > pamrMaxDilations)
    throw new WordmaskError('E_OPTION', `pamr: takes 1 to ${pamrMaxDilations} dilations, got ${dilations.length}`);
  return run(pamrCard, [guide, masks], attrsOf(dilations, iterations))[0] as Tensor;
}
