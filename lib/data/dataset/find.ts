/** Which folders a data set lies in: the given ones, else those of the first known layout that is there. */
import { join } from 'node:path';
import { WordmaskError } from '../../util/errors.js';
import { filesBelow, isFile, isFolder } from '../../util/folder.js';
import type { DatasetSpec, Layout, TruthFiles } from '../types/spec.js';
import type { DatasetOptions } from '../types.js';
import { grouped } from './listing.js';
import { listed } from './problems.js';

/** Where the files of a data set are. */
export interface Place {
  readonly layout: string;
  readonly form: 'maps' | 'panoptic' | 'instances';
  readonly images: string;
  readonly imageSuffixes: readonly string[];
  /** Folder of label maps, or JSON file. */
  readonly truth: string;
  /** Of maps: the kind of files that was found, and all kinds there could be. */
  readonly files?: TruthFiles;
  readonly kinds: readonly TruthFiles[];
  /** Names below `truth`. */
  readonly truthNames: readonly string[];
  readonly list?: string;
  readonly members: 'truth' | 'both';
}

/**
 * @param plain what given folders hold unless their name is that of another layout: the data set's own files, not those of a
 * preparation script
 * @throws E_USAGE without any folder; E_IMAGE_FORMAT with every path that was tried
 */
export async function findPlace(
  spec: DatasetSpec,
  layouts: readonly Layout[],
  plain: Layout,
  options: DatasetOptions,
): Promise<Place> {
  const { root, images, truth } = options;
  if (root === undefined && (images === undefined || truth === undefined)) {
    const given =
      images === undefined && truth === undefined ? '' : `; only ${images === undefined ? 'truth' : 'images'} is given`;
    throw new WordmaskError(
      'E_USAGE',
      `data set ${spec.name} needs its folders: root (the folder that holds ${exampleOf(layouts)}), or images and truth${given}`,
    );
  }
  if (images !== undefined && truth !== undefined) {
    const named = layouts.find((layout) => isNamedLike(truth, layout.truth));
    return explicitPlace(spec, named ?? plain, options);
  }
  const tried: string[] = [];
  for (const layout of layouts)
    for (const base of basesOf(root as string, layout.base)) {
      const place = await placeAt(base, layout, options, tried);
      if (place) return place;
    }
  throw new WordmaskError(
    'E_IMAGE_FORMAT',
    `data set ${spec.name} is not below ${root}; tried:${tried.map((line) => `\n  - ${line}`).join('')}`,
    { details: { dataset: spec.name, root, tried } },
  );
}

/** Whether the path goes through the layout's own folder of labels, such as `annotations_detectron2`. */
function isNamedLike(path: string, truth: string): boolean {
  return path.split(/[\\/]/).includes(truth.split('/')[0] as string);
}

function exampleOf(layouts: readonly Layout[]): string {
  const { base, images, truth } = layouts[0] as Layout;
  return `${join(base, images[0] as string)} and ${join(base, truth)}`;
}

/** `root` may be the folder above the data set's, that folder itself, or one on the way. */
function basesOf(root: string, base: string): string[] {
  const parts = base === '' ? [] : base.split('/');
  return Array.from({ length: parts.length + 1 }, (_, skip) => join(root, ...parts.slice(skip)));
}

async function placeAt(
  base: string,
  layout: Layout,
  options: DatasetOptions,
  tried: string[],
): Promise<Place | undefined> {
  const truth = options.truth ?? join(base, layout.truth);
  const form = layout.form ?? 'maps';
  const lacking: string[] = [];
  const images =
    options.images ??
    (await firstThat(
      isFolder,
      layout.images.map((name) => join(base, name)),
    ));
  if (images === undefined)
    lacking.push(...layout.images.map((name) => `${join(base, name)}: no such folder (pictures)`));
  const isThere = await (form === 'maps' ? isFolder(truth) : isFile(truth));
  if (!isThere) lacking.push(`${truth}: no such ${form === 'maps' ? 'folder (labels)' : 'file'}`);
  let found: Pick<Place, 'files' | 'truthNames'> = { truthNames: [] };
  if (isThere && form === 'maps') {
    found = await filesOf(truth, layout, options);
    if (!found.files)
      lacking.push(`${truth}: holds no ${layout.truthFiles.map(({ suffix }) => `*${suffix}`).join(' or ')}`);
  }
  const lists = (layout.lists ?? []).map((name) => join(base, name));
  const list = options.list ?? (await firstThat(isFile, lists));
  // Where a list is due, the folder holds pictures of other splits too.
  if (lists.length > 0 && list === undefined) lacking.push(...lists.map((path) => `${path}: no such file (list)`));
  tried.push(...lacking.filter((line) => !tried.includes(line)));
  if (lacking.length > 0 || images === undefined) return undefined;
  const members = layout.members ?? 'both';
  return { ...common(layout, options), form, images, truth, ...found, ...(list && { list }), members };
}

function common(layout: Layout, { imageSuffix }: DatasetOptions): Pick<Place, 'layout' | 'imageSuffixes' | 'kinds'> {
  const { name, imageSuffixes, truthFiles } = layout;
  return { layout: name, imageSuffixes: imageSuffix === undefined ? imageSuffixes : [imageSuffix], kinds: truthFiles };
}

async function firstThat(
  is: (path: string) => Promise<boolean>,
  paths: readonly string[],
): Promise<string | undefined> {
  for (const path of paths) if (await is(path)) return path;
  return undefined;
}

/** The first kind of label files that the folder holds. */
async function filesOf(
  truth: string,
  layout: Layout,
  { truthSuffix, signal }: DatasetOptions,
): Promise<Pick<Place, 'files' | 'truthNames'>> {
  const truthNames = await filesBelow(truth, signal);
  const kinds = kindsOf(layout, truthSuffix);
  const others = layout.truthFiles.map(({ suffix }) => suffix);
  for (const files of kinds)
    if ((await grouped(truth, truthNames, [files.suffix], others, signal)).files.size > 0) return { truthNames, files };
  return { truthNames };
}

/** An ending of the user's own is stored like the kind of that ending, else like the data set's first kind. */
function kindsOf({ truthFiles }: Layout, truthSuffix: string | undefined): readonly TruthFiles[] {
  if (truthSuffix === undefined) return truthFiles;
  const same = truthFiles.find(({ suffix }) => suffix === truthSuffix) ?? truthFiles[0];
  return same ? [{ suffix: truthSuffix, stored: same.stored }] : [];
}

async function explicitPlace(spec: DatasetSpec, layout: Layout, options: DatasetOptions): Promise<Place> {
  const [images, truth] = [options.images as string, options.truth as string];
  const form = layout.form ?? 'maps';
  const problems: string[] = [];
  if (!(await isFolder(images))) problems.push(`${images}: no such folder (pictures)`);
  const json = form === 'maps' ? undefined : await jsonOf(truth);
  if (form === 'maps' && !(await isFolder(truth))) problems.push(`${truth}: no such folder (labels)`);
  if (form !== 'maps' && json === undefined)
    problems.push(`${truth}: no JSON file of that name, beside it or in ../annotations`);
  if (options.list !== undefined && !(await isFile(options.list)))
    problems.push(`${options.list}: no such file (list)`);
  let found: Pick<Place, 'files' | 'truthNames'> = { truthNames: [] };
  if (problems.length === 0 && form === 'maps') {
    found = await filesOf(truth, layout, options);
    const suffixes = kindsOf(layout, options.truthSuffix).map(({ suffix }) => `*${suffix}`);
    if (!found.files) problems.push(`${truth}: holds no ${suffixes.join(' or ')}`);
  }
  if (problems.length > 0)
    throw new WordmaskError('E_IMAGE_FORMAT', `data set ${spec.name} cannot be read: ${listed(problems, 10)}`, {
      details: { dataset: spec.name, problems },
    });
  const { list } = options;
  return {
    ...common(layout, options),
    ...{ layout: 'explicit', form, images, truth: json ?? truth, ...found, ...(list && { list }), members: 'both' },
  };
}

/** The JSON itself, or the one that goes with a folder of panoptic PNGs. */
async function jsonOf(truth: string): Promise<string | undefined> {
  const name = truth
    .replace(/[\\/]+$/, '')
    .split(/[\\/]/)
    .at(-1) as string;
  const beside = `${truth.replace(/[\\/]+$/, '')}.json`;
  return firstThat(isFile, [truth, beside, join(truth, '..', 'annotations', `${name}.json`)]);
}
