/** The small model of test/fixtures (made by make_clip_mini.py): what a bare clone is tested with. */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Root of the checkout, seen from build/ts/test/helpers. */
export const root = fileURLToPath(new URL('../../../..', import.meta.url));

/** A path inside test/fixtures/clip-mini. */
export function mini(...parts: string[]): string {
  return join(root, 'test', 'fixtures', 'clip-mini', ...parts);
}

/** A model folder that is always there: random CLIP, 2 layers of width 32, patches of 8 pixels, 531 tokens. */
export function miniFolder(): string {
  return mini();
}

/** A drawn picture of 48 x 40 pixels: sky over grass, a dark disc, a bright box. */
export const miniScene = mini('scene.png');
