/** Which pictures a data set of label files has, and the file of each. */
import { join, resolve } from 'node:path';
import { byCode, filesBelow } from '../../util/folder.js';
import type { DatasetOptions } from '../types.js';
import type { Pair } from './check.js';
import type { Place } from './find.js';
import { grouped, readList } from './listing.js';
import type { Problems } from './problems.js';

export interface Members {
  readonly pairs: readonly (Pair & { readonly truth: string })[];
  /** Named by the list or one of the folders, and not complete. */
  readonly missing: readonly string[];
  /** All that are named. */
  readonly named: number;
}

export async function membersOf(place: Place, problems: Problems, options: DatasetOptions): Promise<Members> {
  const { partial, signal } = options;
  const pictureNames = await filesBelow(place.images, signal);
  const suffix = place.files?.suffix ?? '';
  const labels = await grouped(
    place.truth,
    place.truthNames,
    [suffix],
    place.kinds.map((kind) => kind.suffix),
    signal,
  );
  // One folder may hold both.
  const taken = new Set([...labels.files.values(), ...labels.twice.flatMap(([, paths]) => paths)]);
  const images = await grouped(
    place.images,
    pictureNames.filter((name) => !taken.has(join(place.images, name))),
    place.imageSuffixes,
    resolve(place.images) === resolve(place.truth) ? place.kinds.map((kind) => kind.suffix) : [],
    signal,
  );
  const ids = await idsOf(place, images.files, labels.files, problems, signal);
  const wanted = new Set(ids);
  for (const [what, group] of [
    ['pictures', images],
    ['labels', labels],
  ] as const)
    for (const [stem, paths] of group.twice)
      if (wanted.has(stem)) problems.add(`id ${stem} has ${paths.length} ${what}: ${paths.join(', ')}`);
  const lacks = (files: ReadonlyMap<string, string>): string[] => ids.filter((id) => !files.has(id));
  const [noImage, noLabel] = [lacks(images.files), lacks(labels.files)];
  if (partial !== true) {
    problems.addMany(
      `${noImage.length} of ${ids.length} pictures are not in ${place.images} (partial goes on without)`,
      noImage,
    );
    problems.addMany(
      `${noLabel.length} of ${ids.length} labels (*${suffix}) are not in ${place.truth} (partial goes on without)`,
      noLabel,
    );
  }
  const incomplete = new Set([...noImage, ...noLabel]);
  const pairs = ids
    .filter((id) => !incomplete.has(id))
    .map((id) => ({ id, image: images.files.get(id) as string, truth: labels.files.get(id) as string }));
  return { pairs, missing: ids.filter((id) => incomplete.has(id)), named: ids.length };
}

/** In the list's order, else sorted. */
async function idsOf(
  { list, members }: Place,
  images: ReadonlyMap<string, string>,
  labels: ReadonlyMap<string, string>,
  problems: Problems,
  signal?: AbortSignal,
): Promise<string[]> {
  if (list === undefined)
    return [...new Set([...labels.keys(), ...(members === 'both' ? images.keys() : [])])].sort(byCode);
  const lines = await readList(list, signal);
  const ids = new Set<string>();
  const twice = new Set<string>();
  for (const id of lines) {
    if (ids.has(id)) twice.add(id);
    ids.add(id);
  }
  problems.addMany(`list ${list} names ${twice.size} ids more than once`, [...twice]);
  return [...ids];
}
