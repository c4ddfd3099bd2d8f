/** CamVid as the SegNet authors publish it: 11 classes, 11 = unlabelled (evaluation.md section 8). */
import { classList } from '../text/lists.js';
import { type DatasetSpec, pictureSuffixes } from './types/spec.js';

export const camvid: DatasetSpec = {
  name: 'camvid',
  kind: 'semantic',
  splits: ['test', 'val', 'train'],
  rules: ['tcl', 'd2', 'car'],
  layouts: (split) =>
    ['CamVid', 'camvid'].flatMap((base) =>
      (
        [
          [split, `${split}annot`],
          [`${split}/images`, `${split}/labels`],
        ] as const
      ).map(([images, truth]) => ({
        name: `${base} (${truth})`,
        base,
        images: [images],
        imageSuffixes: pictureSuffixes,
        truth,
        truthFiles: [{ suffix: '.png', stored: 'indices' }],
        members: 'both' as const,
      })),
    ),
  stored: () => ({ bits: 8, ignore: 11, labelMap: 'none' }),
  classes: () => classList('camvid'),
};
