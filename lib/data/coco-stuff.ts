/** COCO-Stuff 164k with 171 classes, and with all raw ids as PnP-OVSS counts them (pnp-ovss.md section 12). */
import { type ClassEntry, classList } from '../text/lists.js';
import { readAssetJson } from '../util/assets.js';
import type { MapConversion } from './types/conversion.js';
import { type DatasetSpec, type Layout, pictureSuffixes, unasked } from './types/spec.js';

interface StuffId {
  readonly index: number;
  /** Value in the raw map: category id - 1. */
  readonly pixel: number;
  readonly category_id: number;
  readonly name: string;
}

const stuffIds = (): readonly StuffId[] => readAssetJson<StuffId[]>('classes/coco-stuff171-ids.json');

/** Raw pixel value to class index; 255 stays. */
export function stuffMap(): ReadonlyMap<number, number> {
  return new Map([...stuffIds().map(({ pixel, index }) => [pixel, index] as const), [255, 255]]);
}

const rawFiles = { suffix: '.png', stored: 'raw' } as const;

function layouts(split: string, prepared: boolean): readonly Layout[] {
  const year = `${split}2017`;
  const pictures = { imageSuffixes: pictureSuffixes, members: 'both' } as const;
  const inCoco = { ...pictures, base: 'coco', images: [year] };
  return [
    {
      ...pictures,
      name: 'coco_stuff164k',
      base: 'coco_stuff164k',
      images: [`images/${year}`],
      truth: `annotations/${year}`,
      truthFiles: prepared ? [{ suffix: '_labelTrainIds.png', stored: 'indices' }, rawFiles] : [rawFiles],
    },
    ...(prepared
      ? [
          {
            ...inCoco,
            name: 'coco (stuffthingmaps_detectron2)',
            truth: `stuffthingmaps_detectron2/${year}`,
            truthFiles: [{ suffix: '.png', stored: 'indices' }],
          },
        ]
      : []),
    { ...inCoco, name: 'coco (stuffthingmaps)', truth: `stuffthingmaps/${year}`, truthFiles: [rawFiles] },
  ];
}

/** Raw ids: 0 unlabelled, then category ids 1 to 182; eleven of them never occur. */
function rawClasses(): readonly ClassEntry[] {
  const plain = classList('coco-stuff');
  const byId = new Map(stuffIds().map(({ category_id, index }) => [category_id, plain[index] as ClassEntry]));
  return Array.from({ length: 183 }, (_, id) => byId.get(id) ?? unasked(id === 0 ? 'unlabeled' : `unused ${id}`));
}

export const cocoStuff: DatasetSpec = {
  name: 'coco-stuff',
  kind: 'semantic',
  splits: ['val', 'train'],
  rules: ['tcl', 'd2', 'pnp-ovss'],
  published: { val: 5000 },
  layouts: (split, rule) => layouts(split, rule !== 'pnp-ovss'),
  stored: (kind, rule) => {
    if (kind === 'indices') return { bits: 8, ignore: 255, labelMap: 'none' };
    if (rule !== 'pnp-ovss') return { bits: 8, ignore: 255, labelMap: 'coco-stuff171-ids', map: stuffMap() };
    const map = new Map([...Array.from({ length: 182 }, (_, pixel) => [pixel, pixel + 1] as const), [255, 0]]);
    return { bits: 8, ignore: 255, labelMap: 'coco-raw-ids', map };
  },
  classes: (rule) => (rule === 'pnp-ovss' ? rawClasses() : classList('coco-stuff')),
};

export const rawToStuff: MapConversion = {
  kind: 'coco-stuff',
  form: 'maps',
  input: 'folder',
  text: 'raw COCO-Stuff maps -> *_labelTrainIds.png of 171 classes',
  from: '.png',
  except: ['_labelTrainIds.png', '_instanceTrainIds.png'],
  to: '_labelTrainIds.png',
  stored: () => cocoStuff.stored('raw', 'tcl'),
  classCount: 171,
};
