/**
 * Run-length sets as toggles: the sorted positions in row-major order at which a mask changes, begin and end taking
 * turns. All set operations are one walk over two lists; nothing here is proportional to the number of pixels.
 */

/** A Uint32Array that grows. */
export class PositionList {
  #items = new Uint32Array(64);
  length = 0;

  push(value: number): void {
    if (this.length === this.#items.length) {
      const wider = new Uint32Array(this.length * 2);
      wider.set(this.#items);
      this.#items = wider;
    }
    this.#items[this.length++] = value;
  }

  /** Appends a toggle; two toggles at one position cancel. */
  toggle(value: number): void {
    if (this.length > 0 && this.#items[this.length - 1] === value) this.length--;
    else this.push(value);
  }

  at(index: number): number {
    return this.#items[index] as number;
  }

  /** The items, without copying more than needed. */
  done(): Uint32Array {
    return this.#items.slice(0, this.length);
  }
}

export function togglesOf(bitmap: ArrayLike<number>, count: number): Uint32Array {
  const list = new PositionList();
  let inside = false;
  for (let i = 0; i < count; i++) {
    if ((bitmap[i] !== 0) !== inside) {
      list.push(i);
      inside = !inside;
    }
  }
  if (inside) list.push(count);
  return list.done();
}

export function areaOf(toggles: Uint32Array): number {
  let area = 0;
  for (let i = 0; i < toggles.length; i += 2) area += (toggles[i + 1] as number) - (toggles[i] as number);
  return area;
}

/** The set of positions for which `keep(inA, inB)` holds; `keep(false, false)` must be false. */
export function combine(a: Uint32Array, b: Uint32Array, keep: (inA: boolean, inB: boolean) => boolean): Uint32Array {
  const out = new PositionList();
  let [i, j, inside] = [0, 0, false];
  while (i < a.length || j < b.length) {
    const at = Math.min(i < a.length ? (a[i] as number) : Infinity, j < b.length ? (b[j] as number) : Infinity);
    if (a[i] === at) i++;
    if (b[j] === at) j++;
    const now = keep((i & 1) === 1, (j & 1) === 1);
    if (now !== inside) {
      out.push(at);
      inside = now;
    }
  }
  return out.done();
}

/** Positions in both sets, counted without building the set. */
export function sharedArea(a: Uint32Array, b: Uint32Array): number {
  let area = 0;
  for (let i = 0, j = 0; i < a.length && j < b.length; ) {
    const begin = Math.max(a[i] as number, b[j] as number);
    const endA = a[i + 1] as number;
    const endB = b[j + 1] as number;
    if (begin < Math.min(endA, endB)) area += Math.min(endA, endB) - begin;
    if (endA < endB) i += 2;
    else j += 2;
  }
  return area;
}

export function complement(toggles: Uint32Array, count: number): Uint32Array {
  const out = new PositionList();
  out.toggle(0);
  for (const at of toggles) out.toggle(at);
  out.toggle(count);
  return out.done();
}

/** The toggles of each row in turn, as column numbers 0..width; a run over several rows is cut at the row ends. */
export class RowCursor {
  #next = 0;
  #inside = false;

  constructor(
    private readonly toggles: Uint32Array,
    private readonly width: number,
  ) {}

  /** Fills `out` with the toggles of row `y`; rows must be asked for in order. */
  read(y: number, out: number[]): void {
    out.length = 0;
    const begin = y * this.width;
    const end = begin + this.width;
    if (this.#inside) out.push(0);
    while (this.#next < this.toggles.length && (this.toggles[this.#next] as number) < end) {
      const x = (this.toggles[this.#next++] as number) - begin;
      this.#inside = !this.#inside;
      // A run that ended exactly at the row's start had opened at column 0: both vanish.
      if (x === 0 && out.length === 1) out.length = 0;
      else out.push(x);
    }
    if (this.#inside) out.push(this.width);
  }
}

/**
 * Row-major toggles of a `width` x `height` set as column-major toggles (position x * height + y), and, called with
 * swapped sides, back again. Works on the places where neighbouring rows differ: O(toggles in and out).
 */
export function transpose(toggles: Uint32Array, width: number, height: number): Uint32Array {
  const changes = new PositionList();
  const counts = new Int32Array(width + 1);
  const cursor = new RowCursor(toggles, width);
  let [above, row]: [number[], number[]] = [[], []];
  for (let y = 0; y <= height; y++) {
    if (y < height) cursor.read(y, row);
    else row.length = 0;
    forEachDifference(above, row, (begin, end) => {
      changes.push(y);
      changes.push(begin);
      changes.push(end);
      counts[begin] = (counts[begin] as number) + 1;
      counts[end] = (counts[end] as number) - 1;
    });
    [above, row] = [row, above];
  }
  const offsets = new Uint32Array(width + 1);
  for (let x = 0, depth = 0; x < width; x++) {
    depth += counts[x] as number;
    offsets[x + 1] = (offsets[x] as number) + depth;
  }
  const total = offsets[width] as number;
  const positions = new Uint32Array(total);
  const next = offsets.slice();
  for (let k = 0; k < changes.length; k += 3) {
    const y = changes.at(k);
    for (let x = changes.at(k + 1); x < changes.at(k + 2); x++) {
      const slot = next[x] as number;
      positions[slot] = x * height + y;
      next[x] = slot + 1;
    }
  }
  return cancelPairs(positions);
}

/** Calls `visit` for each interval of columns in which exactly one of two rows is set. */
function forEachDifference(
  a: readonly number[],
  b: readonly number[],
  visit: (begin: number, end: number) => void,
): void {
  let [i, j] = [0, 0];
  let begin = -1;
  while (i < a.length || j < b.length) {
    const x = Math.min(i < a.length ? (a[i] as number) : Infinity, j < b.length ? (b[j] as number) : Infinity);
    const both = a[i] === x && b[j] === x;
    if (a[i] === x) i++;
    if (b[j] === x) j++;
    if (both) continue;
    if (begin < 0) {
      begin = x;
    } else {
      visit(begin, x);
      begin = -1;
    }
  }
}

/** A column that ends set and a next one that begins set toggle twice at the same position. */
function cancelPairs(positions: Uint32Array): Uint32Array {
  let length = 0;
  for (const at of positions) {
    if (length > 0 && positions[length - 1] === at) length--;
    else positions[length++] = at;
  }
  return length === positions.length ? positions : positions.slice(0, length);
}
