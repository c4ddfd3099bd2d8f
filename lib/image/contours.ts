/**
 * Outlines of a run-length set along pixel edges: one outer ring a 4-connected component, with its holes. Rings are
 * found from the horizontal edges between neighbouring rows; a pixel corner that four edges meet at is split so that
 * diagonal neighbours stay apart. Outer rings run clockwise as seen on the screen, holes the other way.
 */
import { PositionList, RowCursor } from './runs.js';

/** Rings as x0 y0 x1 y1 ... in pixel-edge coordinates: pixel (0, 0) covers the square from 0 to 1. */
export interface Polygon {
  outer: number[];
  holes: number[][];
}

/** All horizontal boundary edges; endpoint 2e is the left end of edge e, 2e + 1 the right one. */
interface Edges {
  y: PositionList;
  left: PositionList;
  right: PositionList;
  /** 1 where the set lies below the edge. */
  below: PositionList;
  /** The run of the set that the edge borders. */
  run: PositionList;
  /** Endpoint that a vertical edge joins to this one. */
  link: PositionList;
  component: Int32Array;
}

/** Exact outlines of the set; every vertex is a true corner. */
export function traceContours(toggles: Uint32Array, width: number, height: number): Polygon[] {
  const edges = collectEdges(toggles, width, height);
  const partner = new Int32Array(edges.y.length * 2);
  for (let k = 0; k < edges.link.length; k += 2) {
    partner[edges.link.at(k)] = edges.link.at(k + 1);
    partner[edges.link.at(k + 1)] = edges.link.at(k);
  }
  const polygons: Polygon[] = [];
  const polygonOf = new Map<number, Polygon>();
  const seen = new Uint8Array(edges.y.length);
  for (let edge = 0; edge < seen.length; edge++) {
    if (seen[edge]) continue;
    // The first edge of a ring in reading order is its topmost: the set below it means an outer ring.
    const outer = edges.below.at(edge) === 1;
    const ring = walkRing(edges, partner, seen, edge, outer);
    const component = findRoot(edges.component, edges.run.at(edge));
    if (outer) {
      const polygon = { outer: ring, holes: [] };
      polygonOf.set(component, polygon);
      polygons.push(polygon);
    } else {
      polygonOf.get(component)?.holes.push(ring);
    }
  }
  return polygons;
}

function collectEdges(toggles: Uint32Array, width: number, height: number): Edges {
  const lists = () => new PositionList();
  const edges = { y: lists(), left: lists(), right: lists(), below: lists(), run: lists(), link: lists() };
  const parents = new PositionList();
  const unions: [number, number][] = [];
  const openEnd = new Int32Array(width + 1);
  const cursor = new RowCursor(toggles, width);
  let [above, row]: [number[], number[]] = [[], []];
  let [aboveRun, rowRun] = [0, 0];
  for (let y = 0; y <= height; y++) {
    if (y < height) cursor.read(y, row);
    else row.length = 0;
    rowRun = parents.length;
    for (let k = 0; k < row.length; k += 2) parents.push(parents.length);
    joinRows(edges, { y, above, row, aboveRun, rowRun, openEnd }, unions);
    [above, row] = [row, above];
    aboveRun = rowRun;
  }
  const component = Int32Array.from(parents.done());
  for (const [a, b] of unions) component[findRoot(component, a)] = findRoot(component, b);
  return { ...edges, component };
}

interface RowPair {
  y: number;
  above: readonly number[];
  row: readonly number[];
  aboveRun: number;
  rowRun: number;
  openEnd: Int32Array;
}

/** Walks two neighbouring rows from left to right; makes the edges between them and joins those that meet. */
function joinRows(
  edges: Omit<Edges, 'component'>,
  { y, above, row, aboveRun, rowRun, openEnd }: RowPair,
  unions: [number, number][],
): void {
  let [i, j] = [0, 0];
  const connect = (end: number, x: number, down: boolean): void => {
    if (down) {
      openEnd[x] = end;
    } else {
      edges.link.push(openEnd[x] as number);
      edges.link.push(end);
    }
  };
  while (i < above.length || j < row.length) {
    const x = Math.min(
      i < above.length ? (above[i] as number) : Infinity,
      j < row.length ? (row[j] as number) : Infinity,
    );
    const edgeToLeft = ((i ^ j) & 1) === 1;
    const turnsAbove = above[i] === x;
    const turnsBelow = row[j] === x;
    if (turnsAbove) i++;
    if (turnsBelow) j++;
    const inAbove = (i & 1) === 1;
    const inBelow = (j & 1) === 1;
    const leftEdge = edges.y.length - 1;
    if (edgeToLeft) edges.right.push(x);
    if (inAbove !== inBelow) {
      edges.y.push(y);
      edges.left.push(x);
      edges.below.push(inBelow ? 1 : 0);
      edges.run.push(inBelow ? rowRun + (j >> 1) : aboveRun + (i >> 1));
    } else if (inAbove) {
      unions.push([aboveRun + (i >> 1), rowRun + (j >> 1)]);
    }
    const rightEdge = edges.y.length - 1;
    if (turnsAbove && turnsBelow) {
      if (!edgeToLeft) continue;
      const leftGoesDown = edges.below.at(leftEdge) === 1;
      // Upwards first: it takes the open end that the other one then replaces.
      connect(leftGoesDown ? 2 * rightEdge : 2 * leftEdge + 1, x, false);
      connect(leftGoesDown ? 2 * leftEdge + 1 : 2 * rightEdge, x, true);
    } else {
      connect(edgeToLeft ? 2 * leftEdge + 1 : 2 * rightEdge, x, turnsBelow);
    }
  }
}

function walkRing(edges: Edges, partner: Int32Array, seen: Uint8Array, first: number, outer: boolean): number[] {
  const ring: number[] = [];
  let end = outer ? 2 * first : 2 * first + 1;
  for (;;) {
    const edge = end >> 1;
    if (seen[edge]) return ring;
    seen[edge] = 1;
    const [from, to] =
      end & 1 ? [edges.right.at(edge), edges.left.at(edge)] : [edges.left.at(edge), edges.right.at(edge)];
    ring.push(from, edges.y.at(edge), to, edges.y.at(edge));
    end = partner[end ^ 1] as number;
  }
}

function findRoot(parents: Int32Array, node: number): number {
  let root = node;
  while (parents[root] !== root) {
    parents[root] = parents[parents[root] as number] as number;
    root = parents[root] as number;
  }
  return root;
}

/** Douglas and Peucker on a closed ring: no dropped corner lies farther than `tolerance` from the new outline. */
export function simplifyRing(ring: readonly number[], tolerance: number): number[] {
  const n = ring.length / 2;
  if (tolerance <= 0 || n <= 4) return ring.slice();
  const keep = new Uint8Array(n + 1);
  // A closed ring is cut at its first corner and at the corner farthest from it.
  const far = farthest(0, n, (k) =>
    Math.hypot(at(ring, n, k)[0] - (ring[0] as number), at(ring, n, k)[1] - (ring[1] as number)),
  ).index;
  keep[0] = keep[far] = keep[n] = 1;
  const stack: [number, number][] = [
    [0, far],
    [far, n],
  ];
  for (let span = stack.pop(); span; span = stack.pop()) {
    const [begin, end] = span;
    const { index, distance } = farthest(begin, end, (k) =>
      segmentDistance(at(ring, n, k), at(ring, n, begin), at(ring, n, end)),
    );
    if (distance <= tolerance) continue;
    keep[index] = 1;
    stack.push([begin, index], [index, end]);
  }
  const out: number[] = [];
  for (let k = 0; k < n; k++) if (keep[k]) out.push(...at(ring, n, k));
  return out.length >= 6 ? out : ring.slice();
}

function at(ring: readonly number[], n: number, k: number): [number, number] {
  const i = (k % n) * 2;
  return [ring[i] as number, ring[i + 1] as number];
}

function farthest(begin: number, end: number, measure: (k: number) => number): { index: number; distance: number } {
  let [index, distance] = [begin, 0];
  for (let k = begin + 1; k < end; k++) {
    const d = measure(k);
    if (d > distance) [index, distance] = [k, d];
  }
  return { index, distance };
}

function segmentDistance(p: [number, number], a: [number, number], b: [number, number]): number {
  const [dx, dy] = [b[0] - a[0], b[1] - a[1]];
  const length = dx * dx + dy * dy;
  const t = length === 0 ? 0 : Math.max(0, Math.min(1, ((p[0] - a[0]) * dx + (p[1] - a[1]) * dy) / length));
  return Math.hypot(p[0] - a[0] - t * dx, p[1] - a[1] - t * dy);
}
