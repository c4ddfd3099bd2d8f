/** What is below a folder, in an order that is the same on every machine. */
import type { Dirent, Stats } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { guardDisk } from './files.js';
import { Slices } from './slices.js';

/** Folders are entered this far down: a link into itself ends here. */
const deepest = 8;

/** All files below a folder, as paths relative to it with /, sorted. Links are followed; names that begin with a dot are left out. */
export async function filesBelow(folder: string, signal?: AbortSignal): Promise<string[]> {
  const found: string[] = [];
  const slices = new Slices(signal);
  const walk = async (below: string, depth: number): Promise<void> => {
    signal?.throwIfAborted();
    const path = join(folder, below);
    for (const entry of await guardDisk('read', path, () => readdir(path, { withFileTypes: true }))) {
      if (slices.due) await slices.pause();
      if (entry.name.startsWith('.')) continue;
      const name = below === '' ? entry.name : `${below}/${entry.name}`;
      const kind = entry.isSymbolicLink() ? await kindBehind(join(path, entry.name)) : kindOf(entry);
      if (kind === 'file') found.push(name);
      else if (kind === 'folder' && depth < deepest) await walk(name, depth + 1);
    }
  };
  await walk('', 0);
  return found.sort(byCode);
}

function kindOf(entry: Dirent | Stats): 'file' | 'folder' | undefined {
  if (entry.isFile()) return 'file';
  return entry.isDirectory() ? 'folder' : undefined;
}

async function kindBehind(path: string): Promise<'file' | 'folder' | undefined> {
  const target = await stat(path).catch(() => undefined);
  return target && kindOf(target);
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
