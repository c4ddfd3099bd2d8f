/** Files of a folder by what their names share. */
import { join } from 'node:path';
import { readFileLimited } from '../../util/files.js';
import { Slices } from '../../util/slices.js';

const mostListBytes = 64 * 2 ** 20;

export interface FileGroup {
  /** Common part of the name (path below the folder, with /) to the file's path. */
  readonly files: ReadonlyMap<string, string>;
  /** Stems of several files, with their paths. */
  readonly twice: readonly (readonly [stem: string, paths: readonly string[]])[];
}

/**
 * Files whose names end in one of `suffixes` (upper or lower case), by what stands before it; a name that ends in one of `others`,
 * a longer ending of files of another kind, is left out.
 */
export async function grouped(
  folder: string,
  names: readonly string[],
  suffixes: readonly string[],
  others: readonly string[] = [],
  signal?: AbortSignal,
): Promise<FileGroup> {
  const files = new Map<string, string>();
  const all = new Map<string, string[]>();
  const [own, foreign] = [suffixes, others].map(longestFirst) as [string[], string[]];
  const slices = new Slices(signal);
  for (const name of names) {
    if (slices.due) await slices.pause();
    const lower = name.toLowerCase();
    const fits = (suffix: string): boolean => lower.endsWith(suffix) && lower.length > suffix.length;
    const suffix = own.find(fits);
    if (suffix === undefined) continue;
    const other = foreign.find(fits);
    if (other !== undefined && other.length > suffix.length) continue;
    const stem = name.slice(0, -suffix.length);
    const path = join(folder, name);
    const first = files.get(stem);
    if (first === undefined) files.set(stem, path);
    else all.set(stem, [...(all.get(stem) ?? [first]), path]);
  }
  return { files, twice: [...all] };
}

function longestFirst(suffixes: readonly string[]): string[] {
  return suffixes.map((suffix) => suffix.toLowerCase()).sort((a, b) => b.length - a.length);
}

/** Ids of a list file: the first word of each line. */
export async function readList(path: string, signal?: AbortSignal): Promise<string[]> {
  const text = (await readFileLimited(path, { limit: mostListBytes, code: 'E_IMAGE_FORMAT', signal })).toString('utf8');
  return text
    .split(/\r?\n/)
    .map((line) => line.trim().split(/\s+/)[0] as string)
    .filter((id) => id !== '');
}
