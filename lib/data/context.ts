/** PASCAL Context on VOC 2010: 60 classes with background, 59 without, and all 459 (evaluation.md section 8). */
import { classList } from '../text/lists.js';
import { type DatasetSpec, type Layout, pictureSuffixes, type TruthFiles } from './types/spec.js';
import type { LabelRule } from './types.js';

const base = 'VOCdevkit/VOC2010';
const published = { val: 5104 };
const d2Split: Readonly<Record<string, string>> = { val: 'validation', train: 'training' };
/** `val/image` is where MAFT's registration looks for the pictures. */
const pictureFolders = (split: string): string[] => [
  'JPEGImages',
  `images/${d2Split[split] ?? split}`,
  'images',
  `${split}/image`,
];

function devkit(split: string): Layout {
  return {
    name: 'VOCdevkit',
    base,
    images: pictureFolders(split),
    imageSuffixes: pictureSuffixes,
    truth: 'SegmentationClassContext',
    truthFiles: [{ suffix: '.png', stored: 'indices' }],
    // The second is where `wordmask data convert pc60` writes it.
    lists: [`ImageSets/SegmentationContext/${split}.txt`, `SegmentationClassContext/${split}.txt`],
  };
}

function prepared(split: string, folder: string, maft: string, truthFiles: readonly TruthFiles[]): readonly Layout[] {
  const d2 = d2Split[split] ?? split;
  const common = { imageSuffixes: pictureSuffixes, truthFiles, members: 'truth' } as const;
  const name = (root: string): string => `${root} (${folder})`;
  return [
    {
      ...common,
      name: name('pascal_ctx_d2'),
      base: 'pascal_ctx_d2',
      images: [`images/${d2}`],
      truth: `${folder}/${d2}`,
    },
    {
      ...common,
      name: name(base),
      base,
      images: pictureFolders(split),
      truth: `annotations_detectron2_ovs/${maft}_${split}`,
    },
  ];
}

const files59: readonly TruthFiles[] = [
  { suffix: '.png', stored: 'reduced' },
  { suffix: '.tif', stored: 'reduced' },
];
const files459: readonly TruthFiles[] = ['.tif', '.tiff', '.png'].map((suffix) => ({ suffix, stored: 'indices' }));
const common = { kind: 'semantic', splits: ['val', 'train'], published } as const;

export const pc60: DatasetSpec = {
  ...common,
  name: 'pc60',
  rules: ['tcl', 'd2', 'pnp-ovss', 'car'],
  layouts: (split) => [devkit(split)],
  stored: () => ({ bits: 8, ignore: 255, labelMap: 'none' }),
  classes: () => classList('pc60'),
};

export const pc59: DatasetSpec = {
  ...common,
  name: 'pc59',
  rules: ['tcl', 'd2', 'car'],
  layouts: (split, rule: LabelRule) => {
    const d2 = prepared(split, 'annotations_ctx59', 'pc59', files59);
    return rule === 'd2' ? [...d2, devkit(split)] : [devkit(split), ...d2];
  },
  stored: (kind) =>
    kind === 'reduced'
      ? { bits: 8, ignore: 255, labelMap: 'none' }
      : { bits: 8, ignore: 255, labelMap: 'none', reduceZero: 'guarded' },
  classes: () => classList('pc59'),
};

export const pc459: DatasetSpec = {
  ...common,
  name: 'pc459',
  rules: ['d2', 'tcl', 'car'],
  layouts: (split) => prepared(split, 'annotations_ctx459', 'pc459', files459),
  stored: () => ({ bits: 16, ignore: 65535, labelMap: 'none' }),
  classes: () => classList('pc459'),
};
