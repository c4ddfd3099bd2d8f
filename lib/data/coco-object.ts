/**
 * COCO-Object: background and the 80 things; everything else, the unlabelled too, is background and nothing is ignored. PnP-OVSS
 * takes the instance masks instead, with COCO's own category ids (pnp-ovss.md section 12).
 */
import { type ClassEntry, classList } from '../text/lists.js';
import { readAssetJson } from '../util/assets.js';
import type { MapConversion } from './types/conversion.js';
import { type DatasetSpec, type Layout, pictureSuffixes, unasked } from './types/spec.js';

/** Raw pixel values of things and the class index of each; the rest of 0..181 and 255 is background. */
export function objectMap(): ReadonlyMap<number, number> {
  const things = new Map(thingIds().map(({ pixel }, i) => [pixel, i + 1] as const));
  const pixels = [...Array.from({ length: 182 }, (_, pixel) => pixel), 255];
  return new Map(pixels.map((pixel) => [pixel, things.get(pixel) ?? 0]));
}

function thingIds(): readonly { pixel: number; category_id: number }[] {
  return readAssetJson<{ index: number; pixel: number; category_id: number }[]>(
    'classes/coco-stuff171-ids.json',
  ).filter(({ index }) => index < 80);
}

/** 255 would be what the conversion left: background all the same (evaluation.md section 12). */
const indices = new Map([...Array.from({ length: 81 }, (_, i) => [i, i] as const), [255, 0]]);

function maps(split: string): readonly Layout[] {
  const year = `${split}2017`;
  const pictures = { imageSuffixes: pictureSuffixes, members: 'both' } as const;
  const raw = { suffix: '.png', stored: 'raw' };
  return [
    {
      ...pictures,
      name: 'coco_stuff164k',
      base: 'coco_stuff164k',
      images: [`images/${year}`],
      truth: `annotations/${year}`,
      truthFiles: [{ suffix: '_instanceTrainIds.png', stored: 'indices' }, raw],
    },
    {
      ...pictures,
      name: 'coco (stuffthingmaps)',
      base: 'coco',
      images: [year],
      truth: `stuffthingmaps/${year}`,
      truthFiles: [raw],
    },
  ];
}

function instances(split: string): readonly Layout[] {
  const year = `${split}2017`;
  const truth = `annotations/instances_${year}.json`;
  const common = { imageSuffixes: pictureSuffixes, truth, truthFiles: [], form: 'instances' } as const;
  return [
    { ...common, name: 'coco', base: 'coco', images: [year] },
    { ...common, name: 'coco_stuff164k', base: 'coco_stuff164k', images: [`images/${year}`] },
  ];
}

/** Category ids 0 to 90, with the gaps of COCO's numbering. */
function categoryClasses(): readonly ClassEntry[] {
  const [background, ...things] = classList('coco-object');
  const byId = new Map(thingIds().map(({ category_id }, i) => [category_id, things[i] as ClassEntry]));
  return Array.from({ length: 91 }, (_, id) =>
    id === 0 ? (background as ClassEntry) : (byId.get(id) ?? unasked(`unused ${id}`)),
  );
}

export const cocoObject: DatasetSpec = {
  name: 'coco-object',
  kind: 'semantic',
  splits: ['val', 'train'],
  rules: ['tcl', 'd2', 'pnp-ovss', 'car'],
  published: { val: 5000 },
  layouts: (split, rule) => (rule === 'pnp-ovss' ? instances(split) : maps(split)),
  stored: (kind) => ({
    bits: 8,
    ignore: 255,
    ...(kind === 'indices'
      ? { labelMap: 'none', map: indices }
      : kind === 'instances'
        ? { labelMap: 'coco-instances' }
        : { labelMap: 'coco-object-ids', map: objectMap() }),
  }),
  classes: (rule) => (rule === 'pnp-ovss' ? categoryClasses() : classList('coco-object')),
  categoryIds: () => thingIds().map(({ category_id }) => category_id),
};

export const rawToObject: MapConversion = {
  kind: 'coco-object',
  form: 'maps',
  input: 'folder',
  text: 'raw COCO-Stuff maps -> *_instanceTrainIds.png of background and 80 things',
  from: '.png',
  except: ['_labelTrainIds.png', '_instanceTrainIds.png'],
  to: '_instanceTrainIds.png',
  stored: () => cocoObject.stored('raw', 'tcl'),
  classCount: 81,
};
