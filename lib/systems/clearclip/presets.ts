/** ClearCLIP's configs (mc-lan/ClearCLIP configs/cfg_*.py; dense-clip-baselines.md sections 2 and 4). */
import type { DensePreset } from '../../post/dense-system.js';

const source = 'mc-lan/ClearCLIP README, appendix table 2 (ViT-B, "+ ClearCLIP"), configs/cfg_*.py';

export const presets: Readonly<Record<string, DensePreset>> = {
  voc21: { options: { probThreshold: 0.5 }, source, classes: 'voc21' },
  pc60: { options: { probThreshold: 0.15 }, source, classes: 'pc60' },
  'coco-object': { options: { probThreshold: 0.4 }, source, classes: 'coco-object' },
  voc20: { options: {}, source, classes: 'voc20' },
  pc59: { options: {}, source, classes: 'pc59' },
  'coco-stuff': { options: {}, source, classes: 'coco-stuff', queries: 'coco-stuff-queries-sclip' },
  cityscapes: {
    options: { crop: 224, stride: 224 },
    source,
    classes: 'cityscapes',
    queries: 'cityscapes-queries-sclip',
  },
  ade150: { options: {}, source, classes: 'ade150', queries: 'ade150-queries-sclip' },
};
