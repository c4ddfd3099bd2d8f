/** A binary mask of one picture as packed runs. */
import { show, WordmaskError } from '../util/errors.js';
import { Slices } from '../util/slices.js';
import { type Polygon, simplifyRing, traceContours } from './contours.js';
import { badRle, compressCounts, countsOf, expandCounts, type Rle, togglesOfCounts } from './rle.js';
import { areaOf, combine, complement, PositionList, sharedArea, togglesOf, transpose } from './runs.js';

export type { Polygon } from './contours.js';
export type { Rle } from './rle.js';

/** [x, y, width, height] in pixels; all 0 for an empty mask. */
export type Box = [number, number, number, number];

/** Immutable; memory grows with the length of the outline, not with the number of pixels. */
export class Mask {
  readonly width: number;
  readonly height: number;
  /** Row-major positions at which the mask changes, begin and end in turn. */
  readonly toggles: Uint32Array;
  #area: number | undefined;

  /** From toggles that are known to be sorted and paired; use the `from...` functions otherwise. */
  constructor(width: number, height: number, toggles: Uint32Array) {
    this.width = width;
    this.height = height;
    this.toggles = toggles;
  }

  /** From [H, W] values of which all but 0 are set. */
  static fromBitmap(bitmap: ArrayLike<number>, width: number, height: number): Mask {
    checkSides(width, height);
    if (bitmap.length !== width * height)
      throw new WordmaskError(
        'E_USAGE',
        `bitmap must hold ${width} x ${height} = ${width * height} values, got ${bitmap.length}`,
      );
    return new Mask(width, height, togglesOf(bitmap, width * height));
  }

  /** From COCO run lengths, compressed or plain. Throws E_USAGE when they are malformed or do not fill `size`. */
  static fromRle({ size, counts }: Rle): Mask {
    if (!Array.isArray(size) || size.length !== 2) throw badRle(`size must be [height, width], got ${show(size)}`);
    const [height, width] = size;
    checkSides(width, height);
    const list = typeof counts === 'string' ? expandCounts(counts) : counts;
    if (!Array.isArray(list)) throw badRle(`counts must be text or a list of numbers, got ${show(counts)}`);
    return new Mask(width, height, transpose(togglesOfCounts(list, width * height), height, width));
  }

  /** Pixels whose centre lies inside an odd number of rings; exact for what `toPolygons(0)` gives. */
  static fromPolygons(polygons: readonly Polygon[], width: number, height: number): Mask {
    checkSides(width, height);
    return new Mask(
      width,
      height,
      fillRings(
        polygons.flatMap(({ outer, holes }) => [outer, ...holes]),
        width,
        height,
      ),
    );
  }

  /** Number of set pixels. */
  get area(): number {
    this.#area ??= areaOf(this.toggles);
    return this.#area;
  }

  /** Smallest box around the set pixels. */
  get bbox(): Box {
    const t = this.toggles;
    if (t.length === 0) return [0, 0, 0, 0];
    const top = Math.floor((t[0] as number) / this.width);
    const bottom = Math.floor(((t[t.length - 1] as number) - 1) / this.width);
    let [left, right] = [this.width, 0];
    for (let i = 0; i < t.length; i += 2) {
      const begin = t[i] as number;
      const last = (t[i + 1] as number) - 1;
      const sameRow = Math.floor(begin / this.width) === Math.floor(last / this.width);
      left = Math.min(left, sameRow ? begin % this.width : 0);
      right = Math.max(right, sameRow ? (last % this.width) + 1 : this.width);
    }
    return [left, top, right - left, bottom + 1 - top];
  }

  /** [H, W] bytes, 1 where set (or `value`). */
  toBitmap(value = 1): Uint8Array {
    const out = new Uint8Array(this.width * this.height);
    for (let i = 0; i < this.toggles.length; i += 2) out.fill(value, this.toggles[i], this.toggles[i + 1]);
    return out;
  }

  /** COCO run lengths; `compressed: false` gives the list of counts. */
  toRle(options: { compressed?: boolean } = {}): Rle {
    const counts = countsOf(transpose(this.toggles, this.width, this.height), this.width * this.height);
    return { size: [this.height, this.width], counts: options.compressed === false ? counts : compressCounts(counts) };
  }

  /** Outlines with holes, one polygon a 4-connected part; `tolerance` in pixels, 0 = exact pixel edges. */
  toPolygons(tolerance = 0): Polygon[] {
    if (!(tolerance >= 0))
      throw new WordmaskError('E_OPTION', `tolerance must be a number of pixels of at least 0, got ${show(tolerance)}`);
    const polygons = traceContours(this.toggles, this.width, this.height);
    if (tolerance === 0) return polygons;
    return polygons.map(({ outer, holes }) => ({
      outer: simplifyRing(outer, tolerance),
      holes: holes.map((hole) => simplifyRing(hole, tolerance)),
    }));
  }

  and(other: Mask): Mask {
    return this.#with(other, (a, b) => a && b);
  }

  or(other: Mask): Mask {
    return this.#with(other, (a, b) => a || b);
  }

  xor(other: Mask): Mask {
    return this.#with(other, (a, b) => a !== b);
  }

  not(): Mask {
    return new Mask(this.width, this.height, complement(this.toggles, this.width * this.height));
  }

  /** Shared area over joint area; 0 when both are empty. */
  iou(other: Mask): number {
    this.#checkSize(other);
    const shared = sharedArea(this.toggles, other.toggles);
    const joint = this.area + other.area - shared;
    return joint === 0 ? 0 : shared / joint;
  }

  equals(other: Mask): boolean {
    return (
      this.width === other.width &&
      this.height === other.height &&
      this.toggles.length === other.toggles.length &&
      this.toggles.every((at, i) => at === other.toggles[i])
    );
  }

  toJSON(): Rle {
    return this.toRle();
  }

  #with(other: Mask, keep: (a: boolean, b: boolean) => boolean): Mask {
    this.#checkSize(other);
    return new Mask(this.width, this.height, combine(this.toggles, other.toggles, keep));
  }

  #checkSize(other: Mask): void {
    if (other.width !== this.width || other.height !== this.height) {
      throw new WordmaskError(
        'E_USAGE',
        `masks must have one size, got ${this.width} x ${this.height} and ${other.width} x ${other.height}`,
      );
    }
  }
}

/** One mask for each value that occurs in a label map [H, W], by value in ascending order; `skip` is left out. */
export async function masksOfLabels(
  labels: ArrayLike<number>,
  width: number,
  height: number,
  skip?: number,
  signal?: AbortSignal,
): Promise<Map<number, Mask>> {
  const lists = new Map<number, PositionList>();
  const slices = new Slices(signal);
  const count = width * height;
  let current = -1;
  let list: PositionList | undefined;
  for (let y = 0; y < height; y++) {
    for (let i = y * width; i < (y + 1) * width; i++) {
      const label = labels[i] as number;
      if (label === current) continue;
      list?.push(i);
      current = label;
      list = lists.get(label);
      if (!list && label !== skip) lists.set(label, (list = new PositionList()));
      list?.push(i);
    }
    if (slices.due) await slices.pause();
  }
  list?.push(count);
  const masks = new Map<number, Mask>();
  for (const [label, toggles] of [...lists].sort(([a], [b]) => a - b)) {
    masks.set(label, new Mask(width, height, toggles.done()));
    if (slices.due) await slices.pause();
  }
  return masks;
}

/** Writes `value` wherever the mask is set. */
export function paintMask<T extends Uint8Array | Uint16Array | Uint32Array>(
  labels: T,
  mask: Mask,
  value: number,
): void {
  for (let i = 0; i < mask.toggles.length; i += 2) labels.fill(value, mask.toggles[i], mask.toggles[i + 1]);
}

function checkSides(width: number, height: number): void {
  if (
    !Number.isInteger(width) ||
    !Number.isInteger(height) ||
    width < 1 ||
    height < 1 ||
    width > 65_535 ||
    height > 65_535
  ) {
    throw new WordmaskError(
      'E_USAGE',
      `a mask needs whole sides from 1 to 65535, got ${show(width)} x ${show(height)}`,
    );
  }
}

/** Even-odd filling on pixel centres: crossings of each row's centre line, sorted, in pairs. */
function fillRings(rings: readonly (readonly number[])[], width: number, height: number): Uint32Array {
  const rows: number[][] = Array.from({ length: height }, () => []);
  for (const ring of rings) {
    const n = ring.length / 2;
    for (let k = 0; k < n; k++) {
      const [x0, y0] = [ring[2 * k] as number, ring[2 * k + 1] as number];
      const [x1, y1] = [ring[(2 * k + 2) % ring.length] as number, ring[(2 * k + 3) % ring.length] as number];
      const [low, high] = [Math.min(y0, y1), Math.max(y0, y1)];
      const last = Math.min(height, Math.ceil(high - 0.5));
      for (let y = Math.max(0, Math.ceil(low - 0.5)); y < last; y++)
        rows[y]?.push(x0 + ((y + 0.5 - y0) * (x1 - x0)) / (y1 - y0));
    }
  }
  const toggles = new PositionList();
  rows.forEach((crossings, y) => {
    crossings.sort((a, b) => a - b);
    for (const x of crossings) toggles.toggle(y * width + Math.max(0, Math.min(width, Math.ceil(x - 0.5))));
  });
  return toggles.done();
}
