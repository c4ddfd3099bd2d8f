/**
 * PASCAL VOC 2012: with background (voc21, pas21), without (voc20, pas20: background pixels do not count), and CAT-Seg's pas20b,
 * where all background is one class behind the 20 (evaluation.md sections 1 and 8).
 */
import { type ClassEntry, classList } from '../text/lists.js';
import { type DatasetSpec, type Layout, pictureSuffixes, type StoredLabels, unasked } from './types/spec.js';
import type { LabelRule } from './types.js';

const published = { val: 1449 };
const d2Split: Readonly<Record<string, string>> = { val: 'validation', train: 'training' };

function devkit(split: string): Layout {
  return {
    name: 'VOCdevkit',
    base: 'VOCdevkit/VOC2012',
    images: ['JPEGImages'],
    imageSuffixes: pictureSuffixes,
    truth: 'SegmentationClass',
    truthFiles: [{ suffix: '.png', stored: 'indices' }],
    lists: [`ImageSets/Segmentation/${split}.txt`],
  };
}

/** Label files that a preparation script has written: the folder is the list. */
function prepared(base: string, images: readonly string[], truth: string, stored: string): Layout {
  return {
    name: `${base} (${truth.split('/')[0]})`,
    ...{ base, images, imageSuffixes: pictureSuffixes, truth, members: 'truth' },
    truthFiles: [{ suffix: '.png', stored }],
  };
}

const pascalVocD2 = (split: string, folder: string, stored: string): Layout =>
  prepared('pascal_voc_d2', [`images/${d2Split[split] ?? split}`], `${folder}/${d2Split[split] ?? split}`, stored);

const devkitPictures = (split: string): readonly string[] => ['JPEGImages', `images_detectron2/${split}`];

/** Prepared trees first under the rule they were made for. */
function inOrder(rule: LabelRule, split: string, others: readonly Layout[]): readonly Layout[] {
  return rule === 'd2' ? [...others, devkit(split)] : [devkit(split), ...others];
}

const withBackground = (split: string, rule: LabelRule): readonly Layout[] =>
  inOrder(rule, split, [pascalVocD2(split, 'annotations_pascal21', 'indices')]);
const withoutBackground = (split: string, rule: LabelRule): readonly Layout[] =>
  inOrder(rule, split, [
    pascalVocD2(split, 'annotations_pascal20', 'reduced'),
    prepared('VOCdevkit/VOC2012', devkitPictures(split), `annotations_ovs/${split}`, 'reduced'),
    pascalVocD2(split, 'annotations_pascal21', 'indices'),
  ]);

/** 255, the border of objects, counts as background. */
const borderIsBackground = new Map([...Array.from({ length: 21 }, (_, i) => [i, i] as const), [255, 0]]);
const backgroundLast = new Map([[0, 20], ...Array.from({ length: 20 }, (_, i) => [i + 1, i] as const), [255, 255]]);

function storedWithBackground(_: string, rule: LabelRule): StoredLabels {
  const plain = { bits: 8, ignore: 255, palette: 'voc' } as const;
  return rule === 'pnp-ovss'
    ? { ...plain, labelMap: 'voc-border-is-background', map: borderIsBackground }
    : { ...plain, labelMap: 'none' };
}

function storedWithoutBackground(kind: string): StoredLabels {
  if (kind === 'reduced') return { bits: 8, ignore: 255, labelMap: 'none' };
  return { bits: 8, ignore: 255, palette: 'voc', labelMap: 'none', reduceZero: 'guarded' };
}

const common = { kind: 'semantic', splits: ['val', 'train', 'trainval'], published } as const;

export const voc21: DatasetSpec = {
  ...common,
  name: 'voc21',
  rules: ['tcl', 'd2', 'pnp-ovss', 'car'],
  layouts: withBackground,
  stored: storedWithBackground,
  classes: () => classList('voc21'),
};

export const pas21: DatasetSpec = { ...voc21, name: 'pas21', rules: ['d2', 'tcl'] };

export const voc20: DatasetSpec = {
  ...common,
  name: 'voc20',
  rules: ['tcl', 'd2', 'car'],
  layouts: withoutBackground,
  stored: storedWithoutBackground,
  classes: () => classList('voc20'),
};

export const pas20: DatasetSpec = { ...voc20, name: 'pas20', rules: ['d2', 'tcl'] };

export const pas20b: DatasetSpec = {
  ...common,
  name: 'pas20b',
  rules: ['d2'],
  layouts: (split, rule) => [
    ...withBackground(split, rule),
    prepared('VOCdevkit/VOC2012', devkitPictures(split), `annotations_detectron2_bg/${split}`, 'background-last'),
  ],
  stored: (kind) =>
    kind === 'background-last'
      ? { bits: 8, ignore: 255, labelMap: 'none' }
      : { bits: 8, ignore: 255, palette: 'voc', labelMap: 'voc-background-last', map: backgroundLast },
  classes: (): readonly ClassEntry[] => [
    ...classList('voc20'),
    { ...unasked('background', [0, 0, 0]), background: true },
  ],
};
