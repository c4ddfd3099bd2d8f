/** Any folder of pictures with label files of the same stem, and a list of class names (evaluation.md section 8). */
import { type DatasetSpec, pictureSuffixes } from './types/spec.js';

export const folder: DatasetSpec = {
  name: 'folder',
  kind: 'semantic',
  splits: ['all'],
  rules: ['tcl', 'd2', 'car'],
  layouts: () => [
    {
      name: 'folder',
      base: '',
      images: ['images'],
      imageSuffixes: pictureSuffixes,
      truth: 'labels',
      truthFiles: ['.png', '.tif', '.tiff'].map((suffix) => ({ suffix, stored: 'indices' })),
      members: 'both',
    },
  ],
  // Files of 8 and of 16 bits; 255 does not count unless the options say otherwise.
  stored: () => ({ bits: 16, ignore: 255, labelMap: 'none', palette: 'any' }),
  classes: () => undefined,
};
