/** Opens a data set by its description: finds the folders, reads lists, checks all headers, and says everything wrong at once. */
import { show, WordmaskError } from '../../util/errors.js';
import { filesBelow } from '../../util/folder.js';
import type { DatasetSpec, StoredLabels } from '../types/spec.js';
import type { DatasetOptions, DatasetSource, EvalDataset, EvalItem, LabelRule } from '../types.js';
import { checkHeaders, type Pair } from './check.js';
import { classesOf } from './classes.js';
import { findPlace, type Place } from './find.js';
import { instanceItem, readInstances } from './instances.js';
import { LabelReader } from './label-file.js';
import { membersOf } from './members.js';
import { panopticItem, readPanoptic, wrongPanopticLook } from './panoptic.js';
import { Problems } from './problems.js';

/** What is known once the pictures are found. */
interface Found {
  readonly pairs: readonly Pair[];
  readonly items: readonly EvalItem[];
  readonly missing: readonly string[];
  readonly named: number;
  readonly wrongLook: LabelReader['wrongLook'];
  readonly panoptic?: EvalDataset['panoptic'];
}

export async function openSpec(spec: DatasetSpec, options: DatasetOptions): Promise<EvalDataset> {
  options.signal?.throwIfAborted();
  const split = choice(spec, 'split', options.split, spec.splits);
  const rule = choice<LabelRule>(spec, 'labels', options.labels, spec.rules);
  const classes = await classesOf(spec.classes(rule), spec.name, options.classes, options.signal);
  const made = options.root === undefined && options.images === undefined && options.truth === undefined;
  if (made && spec.make) {
    const base = sourceOf(spec, split, rule, spec.stored('', rule));
    const items = spec.make(split);
    return { name: spec.name, kind: spec.kind, classes, ignore: spec.stored('', rule).ignore, items, source: base };
  }
  const plain = spec.layouts(split, rule === 'd2' ? 'tcl' : rule)[0] as ReturnType<DatasetSpec['layouts']>[number];
  const place = await findPlace(spec, spec.layouts(split, rule), plain, options);
  const stored = storedOf(spec, place, rule, classes.length, options);
  const problems = new Problems(spec.name);
  const reader = new LabelReader(stored, classes);
  const found = await findersOf[place.form](spec, place, reader, problems, options);
  const published = spec.published?.[split];
  const count = found.named;
  if (place.layout !== 'explicit' && published !== undefined && count !== published && options.partial !== true)
    problems.add(
      `${place.list ?? place.truth} names ${count} pictures, the published figures of ${spec.name} ${split} rest on ${published} (partial goes on with ${count})`,
    );
  if (found.items.length === 0 && found.missing.length === 0) problems.add(`no pictures in ${place.images}`);
  const damaged = await checkHeaders(found.pairs, found.wrongLook, problems, options.signal);
  problems.throwIfAny();
  if (found.items.length === 0) throw nothingLeft(spec, place, found);
  return {
    ...{ name: spec.name, kind: spec.kind, classes, ignore: stored.ignore, items: found.items },
    ...(found.panoptic && { panoptic: found.panoptic }),
    source: {
      ...sourceOf(spec, split, rule, stored),
      ...{ layout: place.layout, images: place.images, truth: place.truth },
      ...(place.list !== undefined && { list: place.list }),
      missing: found.missing,
      damaged,
    },
  };
}

function choice<T extends string>(spec: DatasetSpec, name: string, given: T | undefined, allowed: readonly T[]): T {
  if (given === undefined) return allowed[0] as T;
  if (allowed.includes(given)) return given;
  throw new WordmaskError(
    'E_OPTION',
    `${name} of data set ${spec.name} must be one of ${allowed.join(', ')}, got ${show(given)}`,
    { details: { option: name, value: given, allowed } },
  );
}

function sourceOf(spec: DatasetSpec, split: string, rule: LabelRule, stored: StoredLabels): DatasetSource {
  const published = spec.published?.[split];
  return {
    ...{ layout: 'made', split, images: '', truth: '', labels: rule },
    ...{ labelMap: stored.labelMap, reduceZeroLabel: stored.reduceZero !== undefined },
    ...(published !== undefined && { published }),
    missing: [],
    damaged: [],
  };
}

/** What is stored in the files that were found, with the choices that the user may make about files of his own. */
function storedOf(
  spec: DatasetSpec,
  place: Place,
  rule: LabelRule,
  classCount: number,
  options: DatasetOptions,
): StoredLabels {
  const known = spec.stored(place.files?.stored ?? place.form, rule);
  // Where 255 is a class of a user's own data, only 16 bits can say what does not count.
  const own = known.palette === 'any' && classCount > known.ignore ? { ...known, ignore: 2 ** known.bits - 1 } : known;
  const { ignore, reduceZeroLabel } = options;
  if (ignore === undefined && reduceZeroLabel === undefined) return own;
  if (place.layout !== 'explicit' && spec.name !== 'folder')
    throw new WordmaskError(
      'E_OPTION',
      `ignore and reduceZeroLabel are for folders of your own (images and truth); data set ${spec.name} below root has its rules`,
    );
  const highest = 2 ** own.bits - 1;
  if (ignore !== undefined && (!Number.isInteger(ignore) || ignore < 0 || ignore > highest))
    throw new WordmaskError('E_OPTION', `ignore must be a whole number from 0 to ${highest}, got ${show(ignore)}`);
  const { reduceZero, ...rest } = own;
  const reduce = reduceZeroLabel === undefined ? reduceZero : reduceZeroLabel ? 'guarded' : undefined;
  return { ...rest, ...(reduce && { reduceZero: reduce }), ...(ignore !== undefined && { ignore }) };
}

function nothingLeft(spec: DatasetSpec, place: Place, { missing }: Found): WordmaskError {
  return new WordmaskError(
    'E_IMAGE_FORMAT',
    `data set ${spec.name}: of ${missing.length} pictures none has both picture and label in ${place.images} and ${place.truth}`,
    { details: { dataset: spec.name } },
  );
}

type Finder = (
  spec: DatasetSpec,
  place: Place,
  reader: LabelReader,
  problems: Problems,
  options: DatasetOptions,
) => Promise<Found>;

const findersOf: Readonly<Record<Place['form'], Finder>> = {
  async maps(_, place, reader, problems, options) {
    const { pairs, missing, named } = await membersOf(place, problems, options);
    const items = pairs.map(({ id, image, truth }) => ({
      id,
      image,
      label: (signal?: AbortSignal) => reader.read(truth, signal),
    }));
    return { pairs, items, missing, named, wrongLook: (look) => reader.wrongLook(look) };
  },
  async panoptic(spec, place, reader, problems, { partial, signal }) {
    const categoryIds = spec.categoryIds?.() ?? [];
    const images = { folder: place.images, files: new Set(await filesBelow(place.images, signal)) };
    const list = (folder: string): Promise<readonly string[]> => filesBelow(folder, signal);
    const found = await readPanoptic(place.truth, images, list, { categoryIds, partial, problems, signal });
    const items = found.pictures.map((picture) => panopticItem(picture, categoryIds, reader.stored.ignore));
    const panoptic = { json: found.json, folder: found.folder, categoryIds };
    return { ...found, pairs: found.pictures, items, wrongLook: wrongPanopticLook, panoptic };
  },
  async instances(spec, place, _, problems, { partial, signal }) {
    const categoryIds = spec.categoryIds?.() ?? [];
    const images = { folder: place.images, files: new Set(await filesBelow(place.images, signal)) };
    const found = await readInstances(place.truth, images, { categoryIds, partial, problems, signal });
    const items = found.pictures.map((picture) => instanceItem(picture, place.truth));
    return { ...found, pairs: found.pictures, items, wrongLook: () => undefined };
  },
};
