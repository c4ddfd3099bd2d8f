/**
 * Changes of a square RGB picture in place, as augmentation uses them: what Pillow's ImageOps, ImageEnhance and affine transform
 * give, value by value (blends are cut to whole numbers there, not rounded).
 */

/** RGB u8 [side, side, 3]. */
export interface Square {
  readonly data: Uint8Array;
  readonly side: number;
}

/** Each value by a table: one of 256 entries for all channels, or one of 768, channel by channel. */
function lookUp({ data }: Square, table: Uint8Array): void {
  const step = table.length === 256 ? 0 : 256;
  for (let i = 0; i < data.length; i += 3) {
    data[i] = table[data[i] as number] as number;
    data[i + 1] = table[step + (data[i + 1] as number)] as number;
    data[i + 2] = table[2 * step + (data[i + 2] as number)] as number;
  }
}

/** `value(v)` cut to a whole number 0..255, for v = 0..255. */
function tableOf(value: (v: number) => number): Uint8Array {
  return Uint8Array.from({ length: 256 }, (_, v) => Math.min(255, Math.max(0, Math.trunc(value(v)))));
}

export function invert(image: Square): void {
  lookUp(
    image,
    tableOf((v) => 255 - v),
  );
}

/** Keeps the highest `bits` bits, 0 to 8. */
export function posterise(image: Square, bits: number): void {
  const mask = bits === 0 ? 0 : ~((1 << (8 - bits)) - 1);
  lookUp(
    image,
    tableOf((v) => v & mask),
  );
}

/** Inverts values from `threshold` on. */
export function solarise(image: Square, threshold: number): void {
  lookUp(
    image,
    tableOf((v) => (v < threshold ? v : 255 - v)),
  );
}

/** Adds to values below the middle. */
export function solariseAdd(image: Square, added: number): void {
  lookUp(
    image,
    tableOf((v) => (v < 128 ? v + added : v)),
  );
}

/** Spreads each channel over 0..255. */
export function autoContrast(image: Square): void {
  perChannel(image, (counts) => {
    const low = counts.findIndex((count) => count > 0);
    const high = counts.findLastIndex((count) => count > 0);
    const scale = 255 / (high - low);
    return high <= low ? tableOf((v) => v) : tableOf((v) => v * scale - low * scale);
  });
}

/** Makes the values of each channel about equally frequent. */
export function equalise(image: Square): void {
  perChannel(image, (counts) => {
    const total = counts.reduce((sum, count) => sum + count, 0);
    const step = Math.floor((total - (counts.findLast((count) => count > 0) ?? 0)) / 255);
    if (step === 0) return tableOf((v) => v);
    let sum = Math.floor(step / 2);
    return Uint8Array.from(counts, (count) => {
      const value = Math.min(255, Math.floor(sum / step));
      sum += count;
      return value;
    });
  });
}

function perChannel(image: Square, table: (counts: Uint32Array) => Uint8Array): void {
  const { data } = image;
  const counts = new Uint32Array(768);
  for (let i = 0; i < data.length; i++) {
    const at = (i % 3) * 256 + (data[i] as number);
    counts[at] = (counts[at] as number) + 1;
  }
  const tables = new Uint8Array(768);
  for (let c = 0; c < 3; c++) tables.set(table(counts.subarray(256 * c, 256 * (c + 1))), 256 * c);
  lookUp(image, tables);
}

/** Factor 0 is black, 1 the picture. */
export function brightness(image: Square, factor: number): void {
  lookUp(
    image,
    tableOf((v) => v * factor),
  );
}

/** Factor 0 is the mean grey, 1 the picture. */
export function contrast(image: Square, factor: number): void {
  const { data } = image;
  let sum = 0;
  for (let i = 0; i < data.length; i += 3) sum += greyAt(data, i);
  const mean = Math.floor((3 * sum) / data.length + 0.5);
  lookUp(
    image,
    tableOf((v) => mean + (v - mean) * factor),
  );
}

/** Factor 0 is without colour, 1 the picture. */
export function saturation({ data }: Square, factor: number): void {
  for (let i = 0; i < data.length; i += 3) {
    const grey = greyAt(data, i);
    for (let c = i; c < i + 3; c++) data[c] = cut(grey + ((data[c] as number) - grey) * factor);
  }
}

/** Factor 0 is smoothed by 3 x 3 pixels, the middle one counting five times; 1 the picture. Edge pixels stay. */
export function sharpness({ data, side }: Square, factor: number): void {
  const from = data.slice();
  const row = 3 * side;
  const sumOfRow = (at: number): number => (from[at - 3] as number) + (from[at] as number) + (from[at + 3] as number);
  for (let y = 1; y < side - 1; y++)
    for (let at = y * row + 3; at < (y + 1) * row - 3; at++) {
      const middle = from[at] as number;
      const sum = sumOfRow(at - row) + sumOfRow(at) + sumOfRow(at + row) + 4 * middle;
      const smooth = Math.floor(sum / 13 + 0.5);
      data[at] = cut(smooth + (middle - smooth) * factor);
    }
}

/** ITU-R 601 with 16-bit weights. */
function greyAt(data: Uint8Array, at: number): number {
  return (
    ((data[at] as number) * 19595 + (data[at + 1] as number) * 38470 + (data[at + 2] as number) * 7471 + 0x8000) >>> 16
  );
}

function cut(value: number): number {
  return value <= 0 ? 0 : value >= 255 ? 255 : Math.trunc(value);
}

/** Source position x = a X + b Y + c, y = d X + e Y + f of each pixel centre (X, Y). */
export type Affine = readonly [a: number, b: number, c: number, d: number, e: number, f: number];

/** Rotation about the middle, counter-clockwise, in degrees. */
export function rotation(side: number, degrees: number): Affine {
  const angle = (-degrees * Math.PI) / 180;
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  const middle = side / 2;
  return [cos, sin, middle - cos * middle - sin * middle, -sin, cos, middle + sin * middle - cos * middle];
}

/** Bilinear; what comes from outside is `fill`. */
export function affine({ data, side }: Square, [a, b, c, d, e, f]: Affine, fill: readonly number[]): void {
  const from = data.slice();
  const last = side - 1;
  for (let row = 0, at = 0; row < side; row++)
    for (let column = 0; column < side; column++, at += 3) {
      const x = a * (column + 0.5) + b * (row + 0.5) + c;
      const y = d * (column + 0.5) + e * (row + 0.5) + f;
      if (x < 0 || x >= side || y < 0 || y >= side) {
        for (let k = 0; k < 3; k++) data[at + k] = fill[k] as number;
        continue;
      }
      const [left, top] = [Math.floor(x - 0.5), Math.floor(y - 0.5)];
      const [u, v] = [x - 0.5 - left, y - 0.5 - top];
      const [x0, x1] = [Math.max(0, left), Math.min(last, left + 1)];
      const [y0, y1] = [Math.max(0, top), Math.min(last, top + 1)];
      for (let k = 0; k < 3; k++) {
        const value = (py: number, px: number): number => from[3 * (py * side + px) + k] as number;
        const upper = value(y0, x0) + (value(y0, x1) - value(y0, x0)) * u;
        const lower = value(y1, x0) + (value(y1, x1) - value(y1, x0)) * u;
        data[at + k] = cut(upper + (lower - upper) * v);
      }
    }
}
