/** COCO panoptic: 133 categories whose ids have gaps (evaluation.md section 8). */
import { classList } from '../text/lists.js';
import { readAssetJson } from '../util/assets.js';
import type { PanopticConversion } from './types/conversion.js';
import { type DatasetSpec, pictureSuffixes } from './types/spec.js';

export const cocoPanopticSet: DatasetSpec = {
  name: 'coco-panoptic',
  kind: 'panoptic',
  splits: ['val', 'train'],
  rules: ['d2', 'tcl'],
  published: { val: 5000 },
  layouts: (split) => [
    {
      name: 'coco',
      base: 'coco',
      images: [`${split}2017`],
      imageSuffixes: pictureSuffixes,
      truth: `annotations/panoptic_${split}2017.json`,
      truthFiles: [],
      form: 'panoptic',
    },
  ],
  stored: () => ({ bits: 8, ignore: 255, labelMap: 'coco-panoptic133' }),
  classes: () => classList('coco-panoptic'),
  categoryIds: () => readAssetJson<{ id: number }[]>('classes/coco-panoptic133.json').map(({ id }) => id),
};

export const panopticToMaps: PanopticConversion = {
  kind: 'coco-panoptic',
  form: 'panoptic',
  input: 'file',
  text: 'panoptic_val2017.json and its PNGs -> label PNGs of 133 classes, 255 elsewhere',
  categoryIds: () => cocoPanopticSet.categoryIds?.() ?? [],
};
