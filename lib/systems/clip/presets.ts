/** Plain CLIP as the NACLIP and SCLIP comparisons run it (naclip.md section 11, row "CLIP ViT-B/16"). */
import type { DensePreset } from '../../post/dense-system.js';

const source = 'NACLIP (arXiv 2404.08181) table 1, CLIP row; protocol of SCLIP: short side 336, windows 224/112';
const background = { probThreshold: 0.1 };

export const presets: Readonly<Record<string, DensePreset>> = {
  voc21: { options: background, source, classes: 'voc21', queries: 'voc21-queries-sclip' },
  pc60: { options: background, source, classes: 'pc60' },
  'coco-object': { options: background, source, classes: 'coco-object', queries: 'coco-object-queries-sclip' },
  voc20: { options: {}, source, classes: 'voc20', queries: 'voc20-queries-sclip' },
  pc59: { options: {}, source, classes: 'pc59' },
  ade150: { options: {}, source, classes: 'ade150', queries: 'ade150-queries-sclip' },
  'coco-stuff': { options: {}, source, classes: 'coco-stuff', queries: 'coco-stuff-queries-sclip' },
  cityscapes: { options: { shortSide: 560 }, source, classes: 'cityscapes', queries: 'cityscapes-queries-sclip' },
};
