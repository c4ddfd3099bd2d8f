/** From pictures to windows and from score maps to labels (kernels.md section 4), and the dense CRF (dense-crf.md). */
import {
  classProbabilities,
  connectedComponents,
  gaussianBlur,
  randomUniform,
  resize,
  scoreInit,
  Tensor,
  windowMerge,
  windowPatches,
} from '#lib/engine/index.js';
import { slidingWindows } from '#lib/image/window-plan.js';
import { crfDefaults, denseCrf } from '#lib/post/dense-crf.js';
import { clipMean255, clipStd255 } from '#lib/post/dense-options.js';
import { pamr } from '#lib/post/pamr.js';
import { crfBytes } from '../ops/crf.js';
import type { Bench, GpuCase, Target } from './case.js';

/** Smooth regions with a little noise, as a photograph has: what the CRF's lattice sees. */
export function photo(width: number, height: number, seed = 1): Uint8Array {
  const data = new Uint8Array(width * height * 3);
  const columns = Array.from({ length: 3 * width }, (_, i) => Math.sin(Math.floor(i / 3) / (41 + 7 * (i % 3)) + seed));
  let state = seed;
  for (let y = 0, i = 0; y < height; y++) {
    const row = Math.cos(y / 33) + Math.sin(y / 59 + seed);
    for (let x = 0; x < 3 * width; x++) {
      state = (Math.imul(state, 1103515245) + 12345) >>> 0;
      data[i++] = 127 + 38 * (row + (columns[x] as number)) + ((state >>> 16) % 9) - 4;
    }
  }
  return data;
}

const f32 = 'f32' as const;
const ms = (accept?: number, goal?: number): Target => ({ unit: 'ms', accept, goal });

/** A 4:3 picture of 448 rows and its 15 windows of 224. */
function windowed(bench: Bench) {
  const [width, height, crop] = bench.tiny ? [24, 16, 16] : [597, 448, 224];
  const boxes = slidingWindows(width, height, { crop, stride: crop / 2 }).data;
  return { width, height, crop, boxes, windows: boxes.length / 4 };
}

function gatherWindows(bench: Bench): GpuCase {
  const { width, height, crop, boxes, windows } = windowed(bench);
  const patch = bench.tiny ? 8 : 16;
  return {
    group: 'images',
    name: '15 windows of 224 to patch rows',
    shape: `${width} x ${height}, ${windows} x ${crop}`,
    dtype: 'u8',
    cost: { bytes: 3 * width * height + 2 * 3 * crop * crop * windows },
    target: { unit: 'times floor', accept: 2, goal: 2 },
    items: windows,
    build: (b) => {
      const [mean, std] = [clipMean255, clipStd255].map((v) => Tensor.from(Float32Array.from(v))) as [Tensor, Tensor];
      const plan = b.ints(boxes, [windows, 4]);
      const images = b.rotated(() => [b.bytes([height, width, 3])] as const);
      const options = { height: crop, width: crop, patch, dtype: 'bf16' as const };
      return { call: (turn) => windowPatches(images(turn)[0], plan, mean, std, options) };
    },
  };
}

function merge(bench: Bench, classes: number, target?: Target): GpuCase {
  const { width, height, crop, boxes, windows } = windowed(bench);
  const out: readonly [number, number] = bench.tiny ? [12, 20] : [375, 500];
  const [q, grid] = bench.tiny ? [5, 2] : [classes, 14];
  const pixels = out[0] * out[1];
  return {
    group: 'images',
    name: `merge to 500 x 375, ${classes} classes`,
    shape: `${windows} x ${q} x ${grid} x ${grid} to ${out[1]} x ${out[0]}`,
    dtype: f32,
    cost: { flops: 24 * q * pixels, bytes: 4 * windows * q * grid * grid + 2 * pixels },
    target,
    torch: { spec: { kind: 'merge', windows, q, grid, crop, canvas: [height, width], out, boxes: [...boxes] } },
    build: (b) => {
      const classOf = b.ints(Array.from({ length: q }, (_, i) => i));
      const plan = b.ints(boxes, [windows, 4]);
      const logits = b.rotated(() => [b.normal([windows, q, grid, grid], f32, 0.1)] as const);
      const options = { canvas: [height, width], window: [crop, crop], out } as const;
      return {
        call: (turn) =>
          windowMerge(scoreInit(...out), logits(turn)[0], plan, classOf, options, { scale: 40, sum: true }),
      };
    },
  };
}

function refine(
  bench: Bench,
  name: string,
  size: readonly [number, number],
  dilations: readonly number[],
  target?: Target,
) {
  const [height, width] = bench.tiny ? [12, 20] : size;
  const classes = bench.tiny ? 3 : 21;
  const pixels = height * width;
  const neighbours = 8 * dilations.length;
  return {
    group: 'images',
    name,
    shape: `${classes} x ${height} x ${width}, ${neighbours} neighbours, 10 steps`,
    dtype: f32,
    // Each step reads weights and masks and writes masks; the L2 serves part of it.
    cost: { flops: 20 * neighbours * classes * pixels, bytes: 40 * pixels * (neighbours + 2 * classes) },
    target,
    torch: { spec: { kind: 'pamr', classes, height, width, dilations, steps: 10 } },
    build: (b: Bench) => {
      const sets = b.rotated(
        () => [b.normal([3, height, width], f32), b.normal([classes, height, width], f32)] as const,
      );
      const options = { dilations: bench.tiny ? [1, 2] : dilations, iterations: 10 };
      return { call: (turn: number) => pamr(...sets(turn), options) };
    },
  } satisfies GpuCase;
}

function crf(bench: Bench): GpuCase {
  const [height, width, classes] = bench.tiny ? [12, 20, 3] : [375, 500, 21];
  const pixels = height * width;
  // Vertices a pixel as dense-crf.md section 10 counts them on photographs.
  const lattices = [
    { dims: 2, vertices: 0.131 * pixels },
    { dims: 5, vertices: 0.075 * pixels },
  ];
  return {
    group: 'images',
    name: 'dense CRF 500 x 375, 21 classes, 10 steps',
    shape: `${classes} x ${height} x ${width}`,
    dtype: f32,
    cost: { bytes: crfBytes(pixels, classes, 10, lattices).memory },
    target: ms(5, 2.5),
    items: 1,
    build: (b) => {
      let seed = 0;
      const sets = b.rotated(
        () =>
          [
            Tensor.from(photo(width, height, ++seed), [height, width, 3], 'u8'),
            randomUniform([classes, height, width], { seed, low: 0, high: 4 }),
          ] as const,
      );
      return { call: (turn) => denseCrf(...sets(turn), crfDefaults) };
    },
  };
}

function smaller(bench: Bench): GpuCase[] {
  const [height, width, classes] = bench.tiny ? [12, 20, 3] : [375, 500, 21];
  const [tall, wide] = bench.tiny ? [30, 40] : [4000, 6000];
  const common = { group: 'images', dtype: f32 } as const;
  return [
    {
      ...common,
      name: 'picture 6000 x 4000 to 504 x 336',
      dtype: 'u8',
      shape: `${wide} x ${tall}`,
      cost: { bytes: 3 * 336 * 504 * 5 },
      build: () => {
        const image = Tensor.from(photo(wide, tall), [tall, wide, 3], 'u8');
        const to = bench.tiny ? { width: 10, height: 8 } : { width: 504, height: 336 };
        return { call: () => resize(image, { ...to, mode: 'opencv_linear' }) };
      },
    },
    {
      ...common,
      name: 'Gaussian blur of 21 maps, sigma 25',
      shape: `${classes} x ${height} x ${width}`,
      cost: { flops: 4 * 201 * classes * height * width, bytes: 8 * classes * height * width },
      build: (b) => {
        const maps = b.rotated(() => [b.normal([classes, height, width], f32)] as const);
        return { call: (turn) => gaussianBlur(maps(turn)[0], { sigma: bench.tiny ? 2 : 25 }) };
      },
    },
    {
      ...common,
      name: 'class probabilities, 171 queries',
      shape: `171 x ${height} x ${width}`,
      cost: { bytes: 8 * 171 * height * width },
      build: (b) => {
        const classOf = b.ints(Array.from({ length: 171 }, (_, i) => i));
        const maps = b.rotated(() => [b.normal([171, height, width], f32, 0.1)] as const);
        return { call: (turn) => classProbabilities(maps(turn)[0], classOf, { scale: 40, classes: 171 }) };
      },
    },
    {
      ...common,
      name: 'connected components of noise, 2048 x 1024',
      dtype: 'u8',
      shape: bench.tiny ? '16 x 16' : '2048 x 1024',
      cost: { bytes: (bench.tiny ? 256 : 2048 * 1024) * 5 },
      build: () => {
        const [h, w] = bench.tiny ? [16, 16] : [1024, 2048];
        const labels = Tensor.from(
          photo(w, h)
            .subarray(0, h * w)
            .map((x) => x % 3),
          [h, w],
          'u8',
        );
        return { call: () => connectedComponents(labels) };
      },
    },
  ];
}

export function imageCases(bench: Bench): GpuCase[] {
  return [
    gatherWindows(bench),
    merge(bench, 171, { unit: 'us', accept: 60, goal: 60 }),
    merge(bench, 21),
    refine(bench, 'PAMR 500 x 375, 21 classes (NACLIP)', [375, 500], [8, 16], ms(0.9, 0.9)),
    refine(bench, 'PAMR 112 x 112, 21 classes (TCL)', [112, 112], [1, 2, 4, 8, 12, 24]),
    crf(bench),
    ...smaller(bench),
  ];
}
