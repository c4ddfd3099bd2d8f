/** LoveDA: aerial pictures, labels 1 to 7, 0 = no data (evaluation.md section 8). */
import { classList } from '../text/lists.js';
import { type DatasetSpec, pictureSuffixes } from './types/spec.js';

export const loveda: DatasetSpec = {
  name: 'loveda',
  kind: 'semantic',
  splits: ['val', 'train'],
  rules: ['tcl', 'd2', 'car'],
  layouts: (split) =>
    ['loveDA', 'LoveDA', 'loveda'].map((base) => ({
      name: base,
      base,
      images: [`img_dir/${split}`],
      imageSuffixes: pictureSuffixes,
      truth: `ann_dir/${split}`,
      truthFiles: [{ suffix: '.png', stored: 'raw' }],
      members: 'both' as const,
    })),
  stored: () => ({ bits: 8, ignore: 255, labelMap: 'none', reduceZero: 'guarded' }),
  classes: () => classList('loveda'),
};
