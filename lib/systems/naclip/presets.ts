/** NACLIP's configs (sinahmr/NACLIP configs/cfg_*.py; naclip.md sections 2, 5, 6): the rows of its README, PAMR on. */
import type { DensePreset } from '../../post/dense-system.js';

const source = 'sinahmr/NACLIP README table (ViT-B/16, PAMR on), configs/cfg_*.py';
const whole = { crop: 0, stride: 0 };
const background = { probThreshold: 0.1 };

export const presets: Readonly<Record<string, DensePreset>> = {
  voc21: { options: { ...whole, ...background }, source, classes: 'voc21', queries: 'voc21-queries-sclip' },
  voc20: { options: whole, source, classes: 'voc20', queries: 'voc20-queries-sclip' },
  pc60: { options: background, source, classes: 'pc60' },
  pc59: { options: {}, source, classes: 'pc59' },
  'coco-object': { options: background, source, classes: 'coco-object', queries: 'coco-object-queries-sclip' },
  'coco-stuff': { options: {}, source, classes: 'coco-stuff', queries: 'coco-stuff-queries-sclip' },
  cityscapes: { options: { shortSide: 560 }, source, classes: 'cityscapes', queries: 'cityscapes-queries-sclip' },
  ade150: { options: {}, source, classes: 'ade150', queries: 'ade150-queries-sclip' },
};
