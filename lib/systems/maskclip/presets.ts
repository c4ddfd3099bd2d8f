/** MaskCLIP: as NACLIP and SCLIP rerun it, and the original repository's settings (dense-clip-baselines.md section 2). */
import type { DensePreset } from '../../post/dense-system.js';

const rerun = 'NACLIP and SCLIP tables, MaskCLIP row (protocol 336 / 224 / 112, text as SCLIP)';
const original = 'chongzhou96/MaskCLIP configs/maskclip (ViT-B/16)';
const background = { probThreshold: 0.1 };

/** The form of the original repository, also the trick of TCL and MGCA: residual and MLP kept, whole picture, ImageNet statistics. */
export const originalForm = {
  attention: 'v',
  residual: true,
  ffn: true,
  crop: 0,
  stride: 0,
  shortSide: 512,
  padToPatch: 'end',
  positions: 'exact',
  logitScale: 100,
  mean: [123.675, 116.28, 103.53],
  std: [58.395, 57.12, 57.375],
  layerNormEps: 1e-6,
  activation: 'gelu',
  templates: 'maskclip-85',
};

export const presets: Readonly<Record<string, DensePreset>> = {
  voc21: { options: background, source: rerun, classes: 'voc21', queries: 'voc21-queries-sclip' },
  pc60: { options: background, source: rerun, classes: 'pc60' },
  'coco-object': { options: background, source: rerun, classes: 'coco-object', queries: 'coco-object-queries-sclip' },
  voc20: { options: {}, source: rerun, classes: 'voc20', queries: 'voc20-queries-sclip' },
  pc59: { options: {}, source: rerun, classes: 'pc59' },
  'coco-stuff': { options: {}, source: rerun, classes: 'coco-stuff', queries: 'coco-stuff-queries-sclip' },
  cityscapes: {
    options: { shortSide: 560 },
    source: rerun,
    classes: 'cityscapes',
    queries: 'cityscapes-queries-sclip',
  },
  ade150: { options: {}, source: rerun, classes: 'ade150', queries: 'ade150-queries-sclip' },
  'maskclip-original': { options: originalForm, source: original, classes: 'voc20' },
  'maskclip-original-pc59': {
    options: { ...originalForm, longSide: 520, shortSide: 520 },
    source: original,
    classes: 'pc59',
  },
};
