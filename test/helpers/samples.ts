/** Sample inputs of op cards: seeded values, rounding to a dtype, comparison. */
import type { DType, Fill, RefArray, SampleInput, TypedArray } from '#lib/engine/index.js';
import { numel, viewAs } from '#lib/engine/index.js';

/** mulberry32 over a hash of the key: the same numbers on every machine. */
export function seeded(key: string): () => number {
  let state = 2166136261;
  for (const char of key) state = Math.imul(state ^ char.charCodeAt(0), 16777619);
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

function draw(fill: Fill, random: () => number, index: number): number {
  if (fill === 'normal') return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  if (fill === 'positive') return 0.5 + 1.5 * random();
  if (fill === 'unit') return random();
  if ('uniform' in fill) return fill.uniform[0] + (fill.uniform[1] - fill.uniform[0]) * random();
  if ('integers' in fill) return fill.integers[0] + Math.floor(random() * (fill.integers[1] - fill.integers[0] + 1));
  return fill.values[index % fill.values.length] as number;
}

const bits = new DataView(new ArrayBuffer(4));

export function toBf16(x: number): number {
  bits.setFloat32(0, x);
  const u = bits.getUint32(0);
  if ((u & 0x7fffffff) > 0x7f800000) return (u >>> 16) | 0x40;
  return (u + 0x7fff + ((u >>> 16) & 1)) >>> 16;
}

export function fromBf16(u: number): number {
  bits.setUint32(0, u << 16);
  return bits.getFloat32(0);
}

export function fromF16(u: number): number {
  const sign = u & 0x8000 ? -1 : 1;
  const exponent = (u >> 10) & 31;
  const mantissa = u & 1023;
  if (exponent === 31) return mantissa ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return exponent === 0 ? sign * mantissa * 2 ** -24 : sign * (1 + mantissa / 1024) * 2 ** (exponent - 15);
}

function toF16(x: number): number {
  if (x === 0) return Object.is(x, -0) ? 0x8000 : 0;
  const sign = x < 0 ? 0x8000 : 0;
  const a = Math.abs(x);
  const exponent = Math.max(-14, Math.floor(Math.log2(a)));
  const step = 2 ** (exponent - 10);
  const scaled = a / step;
  let n = Math.floor(scaled);
  if (scaled - n > 0.5 || (scaled - n === 0.5 && n % 2 === 1)) n++;
  return sign + ((exponent + 14) << 10) + n;
}

/** Values as the host array of a dtype. */
export function toHost(values: Float64Array, dtype: DType): TypedArray {
  const array = viewAs(
    dtype,
    new ArrayBuffer(values.length * { f32: 4, bf16: 2, f16: 2, f64: 8, i32: 4, u8: 1, bool: 1 }[dtype]),
  );
  for (let i = 0; i < values.length; i++) {
    const x = values[i] as number;
    array[i] = dtype === 'bf16' ? toBf16(x) : dtype === 'f16' ? toF16(x) : x;
  }
  return array;
}

export function fromHost(array: TypedArray, dtype: DType): Float64Array {
  const decode = dtype === 'bf16' ? fromBf16 : dtype === 'f16' ? fromF16 : (x: number) => x;
  return Float64Array.from(array as ArrayLike<number>, decode);
}

/** The input of a sample for a float dtype, already rounded to the type it will have on the device. */
export function makeInput(
  key: string,
  input: SampleInput,
  float: DType,
): { ref: RefArray; dtype: DType; host: TypedArray } {
  const dtype = input.dtype ?? float;
  const random = seeded(key);
  const fill =
    input.fill ??
    (dtype === 'u8' ? { integers: [0, 255] as const } : dtype === 'bool' ? { integers: [0, 1] as const } : 'normal');
  const raw = Float64Array.from({ length: numel(input.shape) }, (_, i) => draw(fill, random, i));
  const host = toHost(raw, dtype);
  return { ref: { data: fromHost(host, dtype), shape: input.shape }, dtype, host };
}

/** ||a - b|| / ||b||; infinite where either side is not finite and they differ. */
export function relL2(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  let error = 0;
  let norm = 0;
  for (let i = 0; i < expected.length; i++) {
    const a = actual[i] as number;
    const e = expected[i] as number;
    if (Object.is(a, e) || (a === e && !Number.isNaN(a))) {
      if (Number.isFinite(e)) norm += e * e;
      continue;
    }
    if (!Number.isFinite(a) || !Number.isFinite(e)) return Number.POSITIVE_INFINITY;
    error += (a - e) ** 2;
    norm += e * e;
  }
  return norm === 0 ? Math.sqrt(error) : Math.sqrt(error / norm);
}
