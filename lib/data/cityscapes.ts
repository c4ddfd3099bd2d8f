/** Cityscapes with its 19 training classes, from train ids or from label ids (evaluation.md section 8). */
import { classList } from '../text/lists.js';
import { readAssetJson } from '../util/assets.js';
import type { MapConversion } from './types/conversion.js';
import type { DatasetSpec } from './types/spec.js';

/** Label ids end at 33; those that are not trained on do not count. */
const mostLabelId = 33;

/** Label id to train id; 255 for the rest. */
export function cityscapesMap(): ReadonlyMap<number, number> {
  const trained = new Map(
    readAssetJson<{ index: number; label_id: number }[]>('classes/cityscapes19-ids.json').map(({ label_id, index }) => [
      label_id,
      index,
    ]),
  );
  const ids = [...Array.from({ length: mostLabelId + 1 }, (_, id) => id), 255];
  return new Map(ids.map((id) => [id, trained.get(id) ?? 255]));
}

export const cityscapes: DatasetSpec = {
  name: 'cityscapes',
  kind: 'semantic',
  splits: ['val', 'train'],
  rules: ['tcl', 'd2', 'car'],
  published: { val: 500 },
  layouts: (split) => [
    {
      name: 'cityscapes',
      base: 'cityscapes',
      images: [`leftImg8bit/${split}`],
      imageSuffixes: ['_leftImg8bit.png', '_leftImg8bit.jpg'],
      truth: `gtFine/${split}`,
      truthFiles: [
        { suffix: '_gtFine_labelTrainIds.png', stored: 'indices' },
        { suffix: '_gtFine_labelIds.png', stored: 'label-ids' },
      ],
      members: 'both',
    },
  ],
  stored: (kind) =>
    kind === 'indices'
      ? { bits: 8, ignore: 255, labelMap: 'none' }
      : { bits: 8, ignore: 255, labelMap: 'cityscapes19-ids', map: cityscapesMap() },
  classes: () => classList('cityscapes'),
};

export const labelIdsToTrainIds: MapConversion = {
  kind: 'cityscapes',
  form: 'maps',
  input: 'folder',
  text: '*_gtFine_labelIds.png -> *_gtFine_labelTrainIds.png of 19 classes',
  from: '_gtFine_labelIds.png',
  except: [],
  to: '_gtFine_labelTrainIds.png',
  stored: () => cityscapes.stored('label-ids', 'tcl'),
  classCount: 19,
};
