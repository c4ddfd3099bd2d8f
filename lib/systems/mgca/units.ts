/**
 * Adaptive semantic units (arXiv 2403.03707, section 3.4; mgca.md section 5): meta points on a regular grid, each pixel goes to
 * the one it is most like, and the mean of a unit's pixels stands for all of them.
 */
import {
  argmax,
  concat,
  div,
  fill,
  gather,
  l2Normalise,
  matmul,
  maximum,
  scatterAdd,
  scope,
  Tensor,
} from '../../engine/index.js';

export interface Units {
  /** Pixel of each meta point, i32 [n, U]. */
  readonly metaIndex: Tensor;
  /** Unit of each pixel, i32 [n, N]; the lower one among equals. */
  readonly assignment: Tensor;
  /** Mean embedding of each unit, not normalised [n, U, D]; of a unit without pixels (its meta point has an equal before it) 0. */
  readonly means: Tensor;
}

/** Pixels of `units` meta points: cell g of G along an axis of n pixels is read at floor((g + 0.5) n / G). */
export function metaPoints([height, width]: readonly [number, number], units: number): Int32Array {
  const side = Math.round(Math.sqrt(units));
  const at = (cell: number, size: number) => Math.floor(((cell + 0.5) * size) / side);
  return Int32Array.from({ length: units }, (_, g) => at(Math.floor(g / side), height) * width + at(g % side, width));
}

/** Units of pixel embeddings [n, N, D] on a grid, window by window. */
export function findUnits(embeddings: Tensor, grid: readonly [number, number], units: number): Units {
  return scope(() => {
    const count = embeddings.shape[0] as number;
    const points = Tensor.from(metaPoints(grid, units));
    const windows = Array.from({ length: count }, (_, i) => unitsOf(embeddings.select(0, i), points, units));
    const join = (parts: Tensor[]) =>
      concat(
        parts.map((part) => part.reshape(1, ...part.shape)),
        0,
      );
    return {
      metaIndex: join(windows.map(() => points)),
      assignment: join(windows.map(({ assignment }) => assignment)),
      means: join(windows.map(({ means }) => means)),
    };
  });
}

/** Each pixel's embedding replaced by the mean of its unit [n, N, D]. */
export function pooled(embeddings: Tensor, grid: readonly [number, number], units: number): Tensor {
  return scope(() => {
    const points = Tensor.from(metaPoints(grid, units));
    const windows = Array.from({ length: embeddings.shape[0] as number }, (_, i) =>
      scope(() => {
        const { assignment, means } = unitsOf(embeddings.select(0, i), points, units);
        return gather(means, assignment).reshape(1, ...embeddings.shape.slice(1)); // [1, N, D]
      }),
    );
    return windows.length === 1 ? (windows[0] as Tensor) : concat(windows, 0);
  });
}

/** One window: pixels [N, D]. */
function unitsOf(pixels: Tensor, points: Tensor, units: number): { assignment: Tensor; means: Tensor } {
  return scope(() => {
    // A pixel's own length changes nothing in which meta point is the nearest.
    const likeness = matmul(l2Normalise(gather(pixels, points)), pixels, { transposeB: true }); // [U, N]
    const assignment = argmax(likeness, 0); // [N]
    const members = scatterAdd(fill([pixels.shape[0] as number, 1], 1), assignment, units); // [U, 1]
    const sums = scatterAdd(pixels, assignment, units); // [U, D]
    return { assignment, means: div(sums, maximum(members, 1)) };
  });
}
