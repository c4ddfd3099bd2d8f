/** The maps of a ViT block as the encoder calls them: weights packed once, epilogues fused, cold weights. */
import { linearPacked, packLinear, scope, sync, Tensor } from '#lib/engine/index.js';
import { makeInput } from '../../test/helpers/samples.js';
import { measure, type Place } from './measure.js';

/** Rows, columns and depth of one call, and what the epilogue does. */
interface Map {
  readonly name: string;
  readonly n: number;
  readonly k: number;
  readonly activation?: 'quick_gelu';
  readonly residual?: boolean;
}

function maps(width: number): Map[] {
  return [
    { name: 'qkv', n: 3 * width, k: width },
    { name: 'out', n: width, k: width, residual: true },
    { name: 'fc1', n: 4 * width, k: width, activation: 'quick_gelu' },
    { name: 'fc2', n: width, k: 4 * width, residual: true },
  ];
}

const towers = [
  { tower: 'B/16 224', rows: 197, width: 768 },
  { tower: 'B/16 224 x8', rows: 8 * 197, width: 768 },
  { tower: 'L/14 336', rows: 577, width: 1024 },
] as const;

/** Weights in turn exceed the caches, as those of a whole encoder do. */
const rotatedBytes = 96 << 20;

export async function benchPacked(threads: number, place: Place): Promise<void> {
  for (const { tower, rows, width } of towers) {
    for (const map of maps(width)) {
      for (const dtype of ['f32', 'bf16'] as const) await one(tower, rows, map, dtype, threads, place);
    }
  }
}

async function one(
  tower: string,
  rows: number,
  map: Map,
  dtype: 'f32' | 'bf16',
  threads: number,
  place: Place,
): Promise<void> {
  await scope(async () => {
    const tensor = (key: string, shape: number[], type: 'f32' | 'bf16') =>
      Tensor.from(makeInput(`${map.name}/${key}`, { shape }, type).host, shape, type);
    const weight = tensor('weight', [map.n, map.k], 'f32');
    const size = dtype === 'bf16' ? 2 : 4;
    const copies = Math.ceil(rotatedBytes / (map.n * map.k * size));
    const weights = Array.from({ length: copies }, () => packLinear(weight, { bf16: dtype === 'bf16' }));
    const x = tensor('x', [rows, map.k], dtype);
    const bias = tensor('bias', [map.n], 'f32');
    // The residual stream is f32 in both precisions; what feeds the next map has the precision's own dtype.
    const residual = map.residual ? tensor('residual', [rows, map.n], 'f32') : undefined;
    await sync();
    let turn = 0;
    const bytes = rows * map.k * size + map.n * map.k * size + rows * map.n * (map.residual ? 8 : size);
    const line = {
      name: 'linear_packed',
      case: `${tower} ${map.name}`,
      shapes: [`${rows}x${map.k}`, `${map.n}x${map.k}`],
      dtype,
      threads,
      flops: 2 * rows * map.n * map.k,
      bytes,
    };
    await measure(line, place, () =>
      linearPacked(x, weights[turn++ % copies] as (typeof weights)[number], {
        bias,
        residual,
        activation: map.activation,
        bf16Out: dtype === 'bf16' && !map.residual,
      }),
    );
  });
}
