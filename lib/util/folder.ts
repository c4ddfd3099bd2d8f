/** What is below a folder, in an order that is the same on every machine. */
import type { Dirent } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { guardDisk } from './files.js';

/** Folders are entered this far down: a link into itself ends here. */
const deepest = 8;

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

export async function isFolder(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined))?.isDirectory() === true;
}

export async function isFile(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined))?.isFile() === true;
}
