/** Files of a folder by what their names share. */
import type { Dirent } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { guardDisk, readFileLimited } from '../../util/files.js';

const deepest = 8;
const mostListBytes = 64 * 2 ** 20;

export interface FileGroup {
  /** Common part of the name (path below the folder, with /) to the file's path. */
  readonly files: ReadonlyMap<string, string>;
  /** Stems of several files, with their paths. */
  readonly twice: readonly (readonly [stem: string, paths: readonly string[]])[];
}

/** All files below a folder, as paths relative to it with /, sorted. Links are followed; names that begin with a dot are left out. */
export async function filesBelow(folder: string, signal?: AbortSignal): Promise<string[]> {
  const found: string[] = [];
  const walk = async (below: string, depth: number): Promise<void> => {
    signal?.throwIfAborted();
    const path = join(folder, below);
    for (const entry of await guardDisk('read', path, () => readdir(path, { withFileTypes: true }))) {
      if (entry.name.startsWith('.')) continue;
      const name = below === '' ? entry.name : `${below}/${entry.name}`;
      const kind = await kindOf(entry, join(path, entry.name));
      if (kind === 'file') found.push(name);
      else if (kind === 'folder' && depth < deepest) await walk(name, depth + 1);
    }
  };
  await walk('', 0);
  return found.sort(byCode);
}

async function kindOf(entry: Dirent, path: string): Promise<'file' | 'folder' | undefined> {
  if (entry.isFile()) return 'file';
  if (entry.isDirectory()) return 'folder';
  if (!entry.isSymbolicLink()) return undefined;
  const target = await stat(path).catch(() => undefined);
  if (target?.isFile()) return 'file';
  return target?.isDirectory() ? 'folder' : undefined;
}

/** By code units: the same order on every machine. */
export function byCode(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
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

export async function isFolder(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined))?.isDirectory() === true;
}

export async function isFile(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined))?.isFile() === true;
}
