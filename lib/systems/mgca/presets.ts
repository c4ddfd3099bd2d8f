/** MGCA on the eight benchmarks of TCL's protocol (evaluation.md section 1; arXiv 2403.03707, tables 1 and 2). */
import type { DensePreset } from '../../post/dense-system.js';

const table = 'arXiv 2403.03707, tables 1 and 2 (protocol of TCL: short side 448, windows 448 / 224)';
/** The paper gives no thresholds: these are those that GroupViT publishes for the same rule. */
const threshold = (value: number, classes: string): DensePreset => ({
  options: { probThreshold: value },
  source: `${table}; threshold of NVlabs/GroupViT, MGCA's is not published: search it on training pictures`,
  classes,
});
const plain = (classes: string): DensePreset => ({ options: {}, source: table, classes });

export const presets: Readonly<Record<string, DensePreset>> = {
  voc21: threshold(0.95, 'voc21'),
  pc60: threshold(0.35, 'pc60'),
  'coco-object': threshold(0.95, 'coco-object'),
  voc20: plain('voc20'),
  pc59: plain('pc59'),
  'coco-stuff': plain('coco-stuff'),
  cityscapes: plain('cityscapes'),
  ade150: plain('ade150'),
  pixels: { options: { units: 0 }, source: 'arXiv 2403.03707, table 4 (row 3136: no units)', classes: 'voc20' },
};
