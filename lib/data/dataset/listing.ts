/** Files of a folder by what their names share. */
import { join } from 'node:path';
import { readFileLimited } from '../../util/files.js';

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
export function grouped(
  folder: string,
  names: readonly string[],
  suffixes: readonly string[],
  others: readonly string[] = [],
): FileGroup {
  const all = new Map<string, string[]>();
  const [own, foreign] = [suffixes, others].map((list) => list.map((suffix) => suffix.toLowerCase())) as [
    string[],
    string[],
  ];
  for (const name of names) {
    const lower = name.toLowerCase();
    const suffix = longest(lower, own);
    if (suffix === undefined) continue;
    const other = longest(lower, foreign);
    if (other !== undefined && other.length > suffix.length) continue;
    const stem = name.slice(0, -suffix.length);
    all.set(stem, [...(all.get(stem) ?? []), join(folder, name)]);
  }
  const twice = [...all].filter(([, paths]) => paths.length > 1);
  return { files: new Map([...all].map(([stem, paths]) => [stem, paths[0] as string])), twice };
}

function longest(name: string, suffixes: readonly string[]): string | undefined {
  return suffixes
    .filter((suffix) => name.endsWith(suffix) && name.length > suffix.length)
    .sort((a, b) => b.length - a.length)[0];
}

/** Ids of a list file: the first word of each line. */
export async function readList(path: string, signal?: AbortSignal): Promise<string[]> {
  const text = (await readFileLimited(path, { limit: mostListBytes, code: 'E_IMAGE_FORMAT', signal })).toString('utf8');
  return text
    .split(/\r?\n/)
    .map((line) => line.trim().split(/\s+/)[0] as string)
    .filter((id) => id !== '');
}
