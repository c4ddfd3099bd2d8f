/** SCLIP's configs (wangf3014/SCLIP configs/cfg_*.py; dense-clip-baselines.md section 2). */
import type { DensePreset } from '../../post/dense-system.js';

const source = 'wangf3014/SCLIP README table (ViT-B/16), configs/cfg_*.py';

export const presets: Readonly<Record<string, DensePreset>> = {
  voc21: {
    options: { logitScale: 65, probThreshold: 0.1, areaThreshold: 0.1 },
    source,
    classes: 'voc21',
    queries: 'voc21-queries-sclip',
  },
  pc60: { options: { logitScale: 50, probThreshold: 0.1 }, source, classes: 'pc60' },
  'coco-object': {
    options: { logitScale: 50, probThreshold: 0.1 },
    source,
    classes: 'coco-object',
    queries: 'coco-object-queries-sclip',
  },
  voc20: { options: {}, source, classes: 'voc20', queries: 'voc20-queries-sclip' },
  pc59: { options: {}, source, classes: 'pc59' },
  'coco-stuff': { options: { shortSide: 448 }, source, classes: 'coco-stuff', queries: 'coco-stuff-queries-sclip' },
  cityscapes: { options: { shortSide: 560 }, source, classes: 'cityscapes', queries: 'cityscapes-queries-sclip' },
  ade150: { options: {}, source, classes: 'ade150', queries: 'ade150-queries-sclip' },
};
