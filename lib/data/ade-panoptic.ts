/** ADE20K panoptic: 150 categories, id = class index (evaluation.md section 8). */
import { classList } from '../text/lists.js';
import { type DatasetSpec, pictureSuffixes } from './types/spec.js';

export const adePanoptic: DatasetSpec = {
  name: 'ade-panoptic',
  kind: 'panoptic',
  splits: ['val', 'train'],
  rules: ['d2', 'tcl'],
  published: { val: 2000 },
  layouts: (split) => [
    {
      name: 'ADEChallengeData2016',
      base: 'ade/ADEChallengeData2016',
      images: [`images/${split === 'val' ? 'validation' : 'training'}`],
      imageSuffixes: pictureSuffixes,
      truth: `ade20k_panoptic_${split}.json`,
      truthFiles: [],
      form: 'panoptic',
    },
  ],
  stored: () => ({ bits: 8, ignore: 255, labelMap: 'ade150-panoptic' }),
  classes: () => classList('ade-panoptic'),
  categoryIds: () => classList('ade-panoptic').map((_, index) => index),
};
