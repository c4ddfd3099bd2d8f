/** Pairs in a folder: pictures with `captions.jsonl`, or with a .txt, .caption or .json file of the same stem beside each. */
import { readdir, stat } from 'node:fs/promises';
import { extname, join, relative } from 'node:path';
import { WordmaskError } from '../../util/errors.js';
import { guardDisk, readFileLimited } from '../../util/files.js';
import { parseJsonStrict } from '../../util/json.js';
import type { PairProblem, PairSample, PairSource } from '../types.js';
import { type Captions, captionsOfRecord, captionsOfText } from './captions.js';
import { openJsonlPairs } from './jsonl.js';
import { loadPair, mapPairs } from './load.js';

const pictures = new Set(['.jpg', '.jpeg', '.png', '.webp']);
const textLimit = 1 << 20;

/**
 * @param captions a .jsonl file (`captions.jsonl` of the folder where it is there)
 * @throws E_USAGE when the folder is missing or holds no picture
 */
export async function openFolderPairs(
  folder: string,
  options: { readonly captions?: string; readonly side?: number; readonly signal?: AbortSignal } = {},
): Promise<PairSource> {
  const info = await stat(folder).catch(() => undefined);
  if (!info?.isDirectory()) throw new WordmaskError('E_USAGE', `${folder} is no folder: check the path`);
  const list = join(folder, 'captions.jsonl');
  const listed = options.captions ?? ((await stat(list).catch(() => undefined)) ? list : undefined);
  if (listed !== undefined) return openJsonlPairs(listed, folder, options);
  const entries = await guardDisk('read', folder, () => readdir(folder, { recursive: true, withFileTypes: true }));
  const names = entries
    .filter((entry) => entry.isFile() && !entry.name.startsWith('.') && pictures.has(extname(entry.name).toLowerCase()))
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)))
    .sort();
  if (names.length === 0) throw new WordmaskError('E_USAGE', `${folder} holds no .jpg, .png or .webp picture`);
  const readOne = async (name: string, signal?: AbortSignal): Promise<PairSample | PairProblem> => {
    const path = join(folder, name);
    const captions = await captionsBeside(path.slice(0, -extname(path).length));
    return loadPair(name, path, captions, { side: options.side ?? 0, signal });
  };
  return {
    name: folder,
    count: names.length,
    read: (requests, signal) => mapPairs(requests, ({ index }) => readOne(names[index] as string, signal)),
    close: async () => undefined,
  };
}

async function captionsBeside(stem: string): Promise<Captions> {
  for (const extension of ['.txt', '.caption', '.json']) {
    try {
      const bytes = await readFileLimited(`${stem}${extension}`, { limit: textLimit, code: 'E_LABEL' });
      const found =
        extension === '.json'
          ? captionsOfRecord(parseJsonStrict(bytes, { code: 'E_LABEL', what: stem }))
          : captionsOfText(bytes);
      if (found.captions.length > 0) return found;
    } catch (error) {
      if ((error as { code?: unknown }).code !== 'E_LABEL') throw error;
    }
  }
  return { captions: [] };
}
