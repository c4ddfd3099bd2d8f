/** Boxes around what stands out in a map (CLIP-ES's scoremap2bbox as CLIP as RNN uses it; clip-as-rnn.md section 3, step 6). */

import { fillHoles } from '../../image/outline.js';

export type Box = readonly [x0: number, y0: number, x1: number, y1: number];

/**
 * One box per 8-connected component of the cells above the threshold, and per hole with the ring of cells around it (inside another
 * box, so it changes nothing); x1 and y1 are not in it. They are cut at the last column and row as in the published code, so a
 * component in those alone has an empty box. A map of zeros has the box 0, 0, 0, 0.
 * @param map [h, w] from 0 to 1
 * @param threshold share of the highest 8-bit value; lowered by 0.1 until something is above it
 */
export function mapBoxes(map: Float32Array, width: number, height: number, threshold: number): Box[] {
  const levels = Uint8Array.from(map, (value) => Math.trunc(value * 255));
  const highest = levels.reduce((a, b) => Math.max(a, b), 0);
  if (highest === 0) return [[0, 0, 0, 0]];
  for (let share = threshold; ; share -= 0.1) {
    const limit = Math.floor(share * highest);
    const above = Uint8Array.from(levels, (level) => Number(level > limit));
    const cut = (box: Box): Box => [box[0], box[1], Math.min(box[2], width - 1), Math.min(box[3], height - 1)];
    const filled = fillHoles(above, width, height);
    const holes = components(
      filled.map((on, at) => Number(on > (above[at] as number))),
      width,
      height,
      false,
    ).map(([x0, y0, x1, y1]): Box => [x0 - 1, y0 - 1, x1 + 1, y1 + 1]);
    const boxes = components(above, width, height, true);
    if (boxes.length > 0) return [...boxes, ...holes].map(cut);
  }
}

/** 1 inside any of the boxes. [h, w] */
export function boxMask(boxes: readonly Box[], width: number, height: number): Uint8Array {
  const mask = new Uint8Array(width * height);
  for (const [x0, y0, x1, y1] of boxes)
    for (let y = y0; y < y1; y++) mask.fill(1, y * width + x0, y * width + Math.max(x0, x1));
  return mask;
}

/** Boxes of the components, corner to corner too where `diagonal`; empties `cells`. */
function components(cells: Uint8Array, width: number, height: number, diagonal: boolean): Box[] {
  const boxes: Box[] = [];
  for (let start = 0; start < cells.length; start++) {
    if (cells[start] === 0) continue;
    let [left, top, right, bottom] = [width, height, 0, 0];
    const open = [start];
    cells[start] = 0;
    for (let at = open.pop(); at !== undefined; at = open.pop()) {
      const [x, y] = [at % width, Math.floor(at / width)];
      [left, top, right, bottom] = [Math.min(left, x), Math.min(top, y), Math.max(right, x), Math.max(bottom, y)];
      for (let dy = -1; dy <= 1; dy++)
        for (let dx = -1; dx <= 1; dx++) {
          const [nx, ny] = [x + dx, y + dy];
          const next = ny * width + nx;
          if (!diagonal && dx !== 0 && dy !== 0) continue;
          if (nx < 0 || nx >= width || ny < 0 || ny >= height || cells[next] === 0) continue;
          cells[next] = 0;
          open.push(next);
        }
    }
    boxes.push([left, top, right + 1, bottom + 1]);
  }
  return boxes;
}
