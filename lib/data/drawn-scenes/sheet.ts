/** Pictures and label maps of scenes side by side, as one PNG. */
import { renderOverlay } from '../../image/overlay.js';
import { writePng } from '../../image/png.js';
import type { SceneSize } from './options.js';
import { sceneLegend } from './write.js';

/** RGB [H, W, 3], or labels [H, W] that are shown in the colours of the classes. */
export type SheetCell = { readonly rgb: Uint8Array } | { readonly labels: Uint8Array | Uint16Array };

const gap = 4;

/** PNG bytes of rows of cells, all of one size, on white. */
export async function writeSheet(
  rows: readonly (readonly SheetCell[])[],
  { width, height }: SceneSize,
  signal?: AbortSignal,
): Promise<Uint8Array> {
  const columns = Math.max(1, ...rows.map((row) => row.length));
  const sheet = new Sheet(columns * (width + gap) - gap, Math.max(1, rows.length) * (height + gap) - gap);
  for (const [r, row] of rows.entries())
    for (const [c, cell] of row.entries()) {
      const rgb = 'rgb' in cell ? cell.rgb : await coloured(cell.labels, { width, height }, signal);
      sheet.put(rgb, width, c * (width + gap), r * (height + gap));
    }
  return writePng({ width: sheet.width, height: sheet.height, kind: 'rgb', data: sheet.data }, { level: 9, signal });
}

async function coloured(
  labels: Uint8Array | Uint16Array,
  { width, height }: SceneSize,
  signal?: AbortSignal,
): Promise<Uint8Array> {
  const plain = { alpha: 1, contours: false, legend: false, signal };
  return (await renderOverlay({ width, height, labels, legend: sceneLegend }, plain)).data;
}

class Sheet {
  readonly data: Uint8Array;

  constructor(
    readonly width: number,
    readonly height: number,
  ) {
    this.data = new Uint8Array(3 * width * height).fill(255);
  }

  put(rgb: Uint8Array, width: number, x: number, y: number): void {
    for (let r = 0; r * 3 * width < rgb.length; r++)
      this.data.set(rgb.subarray(3 * r * width, 3 * (r + 1) * width), 3 * ((y + r) * this.width + x));
  }
}
