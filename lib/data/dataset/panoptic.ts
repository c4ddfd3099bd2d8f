/** COCO panoptic data: JSON with segments_info and an RGB PNG of segment ids a picture. */
import { dirname, join } from 'node:path';
import { readPanopticIds } from '../../formats/coco-panoptic.js';
import { isObject, type JsonObject } from '../../formats/json.js';
import { imageLimits } from '../../image/limits.js';
import { show } from '../../util/errors.js';
import { readFileLimited } from '../../util/files.js';
import { byCode, isFolder } from '../../util/folder.js';
import { inSlices } from '../../util/slices.js';
import type { EvalItem, LabelPlane, PanopticSegment, PanopticTruth } from '../types.js';
import type { Pair } from './check.js';
import { isFileName, isId, type JsonImage, readCocoJson, stemOf } from './coco-json.js';
import { type LabelLook, labelError, naming } from './label-file.js';
import { listed, type Problems } from './problems.js';

const mostId = 2 ** 24 - 1;

export interface PanopticFolder {
  readonly json: string;
  readonly folder: string;
  readonly pictures: readonly PanopticPicture[];
  /** Ids of pictures without annotation, picture or PNG. */
  readonly missing: readonly string[];
  readonly named: number;
}

export interface PanopticPicture extends Pair {
  readonly truth: string;
  readonly segments: readonly PanopticSegment[];
}

export interface PanopticReading {
  readonly categoryIds: readonly number[];
  readonly partial?: boolean;
  /** The pictures themselves are not asked for. */
  readonly picturesApart?: boolean;
  readonly problems: Problems;
  readonly signal?: AbortSignal;
}

interface Annotation {
  readonly file: string;
  readonly segments: readonly PanopticSegment[];
}

/** Folder of the PNGs that go with a JSON: of the same name, beside it or one up, as COCO's archives unpack. */
async function folderOf(json: string): Promise<string | undefined> {
  const name = stemOf(json.split(/[\\/]/).at(-1) as string);
  for (const path of [join(dirname(json), name), join(dirname(json), '..', name)])
    if (await isFolder(path)) return path;
  return undefined;
}

/** Reads the JSON and finds the files; what does not fit together is added to `problems`. */
export async function readPanoptic(
  json: string,
  images: { readonly folder: string; readonly files: ReadonlySet<string> },
  listNames: (folder: string) => Promise<readonly string[]>,
  o: PanopticReading,
): Promise<PanopticFolder> {
  const { problems } = o;
  const folder = await folderOf(json);
  if (folder === undefined) {
    const name = stemOf(json.split(/[\\/]/).at(-1) as string);
    problems.add(`${json} has no folder ${name} of PNG files beside it or one up`);
  }
  const annotations = new Map<number | string, Annotation>();
  const reader = new AnnotationReader(json, new Set(o.categoryIds), problems);
  const root = await readCocoJson(json, (one) => reader.add(one, annotations), problems, o.signal);
  reader.finish(root.images, root.categories, annotations);
  const pngs = new Set(folder === undefined ? [] : await listNames(folder));
  const lacking: Record<'annotation' | 'picture' | 'PNG', string[]> = { annotation: [], picture: [], PNG: [] };
  const pictures: PanopticPicture[] = [];
  for (const [imageId, image] of root.images) {
    const id = stemOf(image.file);
    const annotation = annotations.get(imageId);
    const hasPicture = o.picturesApart === true || images.files.has(image.file);
    if (!hasPicture) lacking.picture.push(id);
    if (!annotation) lacking.annotation.push(id);
    else if (folder !== undefined && !pngs.has(annotation.file)) lacking.PNG.push(id);
    if (!annotation || !hasPicture || !pngs.has(annotation.file)) continue;
    const { width, height } = image;
    pictures.push({
      ...{ id, image: join(images.folder, image.file), truth: join(folder as string, annotation.file) },
      ...{ size: { width, height }, segments: annotation.segments },
    });
  }
  const missing = [...new Set(Object.values(lacking).flat())].sort(byCode);
  if (o.partial !== true) {
    const of = `of ${root.images.size} pictures`;
    problems.addMany(
      `${lacking.picture.length} ${of} are not in ${images.folder} (partial goes on without)`,
      lacking.picture,
    );
    problems.addMany(
      `${lacking.annotation.length} ${of} have no annotation in ${json} (partial goes on without)`,
      lacking.annotation,
    );
    problems.addMany(`${lacking.PNG.length} ${of} have no PNG in ${folder} (partial goes on without)`, lacking.PNG);
  }
  const annotated = new Set([...annotations.values()].map(({ file }) => file));
  const strange = [...pngs].filter((name) => name.toLowerCase().endsWith('.png') && !annotated.has(name));
  if (o.partial !== true)
    problems.addMany(`${strange.length} PNGs in ${folder} are in no annotation (partial goes on without)`, strange);
  pictures.sort((a, b) => byCode(a.id, b.id));
  return { json, folder: folder ?? '', pictures, missing, named: root.images.size };
}

/** Checks annotations as they come. */
class AnnotationReader {
  readonly #twice: string[] = [];
  readonly #files = new Set<string>();

  constructor(
    private readonly path: string,
    private readonly known: ReadonlySet<number>,
    private readonly problems: Problems,
  ) {}

  add(
    { image_id: imageId, file_name: file, segments_info: list }: JsonObject,
    to: Map<number | string, Annotation>,
  ): void {
    if (!isId(imageId) || !isFileName(file) || !Array.isArray(list)) {
      this.problems.add(
        `${this.path}: the annotation of image ${show(imageId)} needs image_id, file_name without folders and segments_info`,
      );
      return;
    }
    if (to.has(imageId) || this.#files.has(file)) this.#twice.push(`${show(imageId)} (${file})`);
    this.#files.add(file);
    const ids = new Set<number>();
    const segments: PanopticSegment[] = [];
    for (const one of list as readonly unknown[]) {
      const segment = this.#segment(one, file, ids);
      if (segment) segments.push(segment);
    }
    to.set(imageId, { file, segments });
  }

  #segment(value: unknown, file: string, ids: Set<number>): PanopticSegment | undefined {
    const { id, category_id: categoryId, area, iscrowd } = isObject(value) ? value : {};
    const bad = (problem: string): undefined => {
      this.problems.add(`${this.path}, ${file}: ${problem}`);
      return undefined;
    };
    if (!Number.isInteger(id) || (id as number) < 1 || (id as number) > mostId)
      return bad(`segment id ${show(id)} is not a whole number from 1 to ${mostId}`);
    if (ids.has(id as number)) return bad(`segment ${id} is listed twice`);
    ids.add(id as number);
    if (!this.known.has(categoryId as number))
      return bad(`segment ${id} has category ${show(categoryId)}, which is not known`);
    if (typeof area !== 'number' || !(area >= 0)) return bad(`segment ${id} has area ${show(area)}`);
    const crowd = iscrowd === 1 || iscrowd === true;
    return { id: id as number, categoryId: categoryId as number, area, crowd };
  }

  finish(
    images: ReadonlyMap<number | string, JsonImage>,
    categories: readonly unknown[],
    annotations: ReadonlyMap<number | string, Annotation>,
  ): void {
    this.problems.addMany(`${this.path} has ${this.#twice.length} images or PNGs with two annotations`, this.#twice);
    const strange = [...annotations].filter(([imageId]) => !images.has(imageId)).map(([, { file }]) => file);
    this.problems.addMany(`${this.path} annotates ${strange.length} images that it does not list`, strange);
    const ids = categories.map((category) => (isObject(category) ? category.id : undefined));
    const unknown = ids.filter((id) => !this.known.has(id as number)).map((id) => show(id));
    this.problems.addMany(`${this.path} lists ${unknown.length} categories that this data set does not have`, unknown);
  }
}

/** A panoptic map is an RGB PNG of 8 bits. */
export function wrongPanopticLook({ format, kind, bitDepth }: LabelLook): string | undefined {
  if (format === 'png' && (kind === 'rgb' || kind === 'rgba') && bitDepth === 8) return undefined;
  return `is ${kind ?? format} with ${bitDepth} bits: a panoptic map is an 8-bit RGB PNG with id = R + 256 G + 65536 B`;
}

export function panopticItem(picture: PanopticPicture, categoryIds: readonly number[], ignore: number): EvalItem {
  const { id, image, truth, segments } = picture;
  const indexOf = new Map(categoryIds.map((category, index) => [category, index]));
  const panoptic = (signal?: AbortSignal): Promise<PanopticTruth> => readTruth(truth, segments, signal);
  return {
    id,
    image,
    panoptic,
    async label(signal) {
      const { ids, width, height } = await panoptic(signal);
      const classOf = new Map(segments.map((segment) => [segment.id, indexOf.get(segment.categoryId) as number]));
      const data = new Uint8Array(ids.length).fill(ignore);
      await eachRun(ids, (begin, end) => data.fill(classOf.get(ids[begin] as number) ?? ignore, begin, end), signal);
      return { width, height, data } satisfies LabelPlane;
    },
  };
}

/** Calls `visit` for each run of one id. */
async function eachRun(
  ids: Uint32Array,
  visit: (begin: number, end: number) => void,
  signal?: AbortSignal,
): Promise<void> {
  let begin = 0;
  await inSlices(
    ids.length,
    1 << 19,
    (from, to) => {
      for (let i = Math.max(from, 1); i < to; i++) {
        if (ids[i] === ids[begin]) continue;
        visit(begin, i);
        begin = i;
      }
    },
    signal,
  );
  if (ids.length > 0) visit(begin, ids.length);
}

async function readTruth(
  path: string,
  segments: readonly PanopticSegment[],
  signal?: AbortSignal,
): Promise<PanopticTruth> {
  const { ids, width, height } = await naming(path, async () =>
    readPanopticIds(await readFileLimited(path, { limit: imageLimits().fileBytes, signal }), signal),
  );
  const counts = new Map<number, number>();
  await eachRun(
    ids,
    (begin, end) => counts.set(ids[begin] as number, (counts.get(ids[begin] as number) ?? 0) + end - begin),
    signal,
  );
  const known = new Set(segments.map(({ id }) => id));
  const strange = [...counts].filter(([id]) => id !== 0 && !known.has(id));
  const absent = [...known].filter((id) => !counts.has(id));
  if (strange.length > 0 || absent.length > 0) {
    const parts = [
      ...(strange.length > 0
        ? [`holds ids that its JSON does not list: ${listed(strange.map(([id, count]) => `${id} (${count} pixels)`))}`]
        : []),
      ...(absent.length > 0 ? [`lacks ids that its JSON lists: ${listed(absent.map(String))}`] : []),
    ];
    throw labelError(path, parts.join('; it '), {
      values: strange.slice(0, 256).map(([value, count]) => ({ value, count })),
      missing: absent.slice(0, 256),
    });
  }
  return { width, height, ids, segments };
}
