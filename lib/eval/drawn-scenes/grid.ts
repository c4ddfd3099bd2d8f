/** The best that one label a cell can do: the label that most pixels of the cell have. */
import type { SceneSize } from '../../data/drawn-scenes/index.js';
import { classCount } from './scores.js';

/** Cell of pixel `at` along a side of `pixels` cut into `cells`. */
const cellOf = (at: number, pixels: number, cells: number): number => Math.floor(((at + 0.5) * cells) / pixels);

/** Label of most pixels of each cell [h * w]; the lower one among equals. */
export function majority(
  labels: Uint8Array,
  { width, height }: SceneSize,
  [rows, columns]: readonly [number, number],
): Uint8Array {
  const counts = new Uint32Array(rows * columns * classCount);
  for (let y = 0; y < height; y++) {
    const row = cellOf(y, height, rows) * columns;
    for (let x = 0; x < width; x++) {
      const cell = (row + cellOf(x, width, columns)) * classCount + (labels[y * width + x] as number);
      counts[cell] = (counts[cell] as number) + 1;
    }
  }
  return Uint8Array.from({ length: rows * columns }, (_, cell) => {
    const own = counts.subarray(cell * classCount, (cell + 1) * classCount);
    return own.indexOf(Math.max(...own));
  });
}

/** A label map in which every cell has its majority label. */
export function gridOracle(labels: Uint8Array, size: SceneSize, grid: readonly [number, number]): Uint8Array {
  const { width, height } = size;
  const cells = majority(labels, size, grid);
  return Uint8Array.from(
    labels,
    (_, i) =>
      cells[cellOf(Math.floor(i / width), height, grid[0]) * grid[1] + cellOf(i % width, width, grid[1])] as number,
  );
}
