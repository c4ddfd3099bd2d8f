/** Seen and unseen classes (assets/classes/splits.json). */
import { readAssetJson } from '../util/assets.js';
import { show, WordmaskError } from '../util/errors.js';
import type { SplitChoice } from './protocol.js';

/** Which data sets a split divides, its key in the file, and the class that comes before the first one it counts. */
const splits: Readonly<Record<SplitChoice, { key: string; datasets: Readonly<Record<string, number>> }>> = {
  voc: { key: 'voc20', datasets: { voc20: 0, pas20: 0, voc21: 1, pas21: 1 } },
  'coco-stuff': { key: 'coco-stuff171', datasets: { 'coco-stuff': 0 } },
  ade847: { key: 'ade847', datasets: { ade847: 0 } },
};

/** @throws E_OPTION when the split is not one of this data set */
export function checkSplit(split: SplitChoice, dataset: string): SplitChoice {
  if (Object.hasOwn(splits[split].datasets, dataset)) return split;
  const own = (Object.keys(splits) as SplitChoice[]).find((name) => Object.hasOwn(splits[name].datasets, dataset));
  throw new WordmaskError(
    'E_OPTION',
    `protocol: split ${show(split)} divides the classes of ${Object.keys(splits[split].datasets).join(', ')}, not of ${show(dataset)}${own ? `, whose split is '${own}'` : ', which has none'}`,
    { details: { option: 'split', value: split } },
  );
}

/** Which classes were never trained on; undefined: the class belongs to neither side (a background class). */
export function splitSides(split: SplitChoice, dataset: string, classes: number): ('seen' | 'unseen' | undefined)[] {
  const { key, datasets } = splits[split];
  const first = datasets[dataset] ?? 0;
  const { unseen_index: unseen } = readAssetJson<Record<string, { unseen_index: readonly number[] }>>(
    'classes/splits.json',
  )[key] as { unseen_index: readonly number[] };
  const hidden = new Set(unseen);
  return Array.from({ length: classes }, (_, c) => (c < first ? undefined : hidden.has(c - first) ? 'unseen' : 'seen'));
}
