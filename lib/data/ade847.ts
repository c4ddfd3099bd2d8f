/** ADE20K with 847 classes: 16-bit label maps as `wordmask data convert ade847` writes them (evaluation.md section 8). */
import { classList } from '../text/lists.js';
import { type DatasetSpec, pictureSuffixes } from './types/spec.js';

const folders: Readonly<Record<string, string>> = { val: 'validation', train: 'training' };

export const ade847: DatasetSpec = {
  name: 'ade847',
  kind: 'semantic',
  splits: ['val', 'train'],
  rules: ['d2', 'tcl', 'car'],
  published: { val: 2000 },
  layouts: (split) => [
    {
      name: 'ADE20K_2021_17_01',
      base: 'ade/ADE20K_2021_17_01',
      images: [`images_detectron2/${folders[split] ?? split}`],
      imageSuffixes: pictureSuffixes,
      truth: `annotations_detectron2/${folders[split] ?? split}`,
      truthFiles: ['.tif', '.tiff', '.png'].map((suffix) => ({ suffix, stored: 'indices' })),
      members: 'both',
    },
  ],
  stored: () => ({ bits: 16, ignore: 65535, labelMap: 'none' }),
  classes: () => classList('ade847'),
};
