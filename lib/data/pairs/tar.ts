/**
 * Pairs in .tar shards of WebDataset layout: members that share a stem and stand side by side are one sample. Shards are read
 * once for their headers, then any sample is fetched by its place; no shard is in memory.
 */
import { readdir, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { imageLimits } from '../../image/limits.js';
import { show, WordmaskError } from '../../util/errors.js';
import { guardDisk, openRegular, readFully } from '../../util/files.js';
import { parseJsonStrict } from '../../util/json.js';
import type { PairProblem, PairRequest, PairSample, PairSource } from '../types.js';
import { type Captions, captionsOfRecord, captionsOfText } from './captions.js';
import { type LoadOptions, loadPair, mapPairs } from './load.js';
import { tarMembers } from './tar-index.js';

const textLimit = 1 << 20;
const shardsAtOnce = 4;
const mostShards = 100_000;
/** Numbers a sample: offset and size of picture, .txt and .json. */
const fields = 6;
const kinds: Readonly<Record<string, number>> = { jpg: 0, jpeg: 0, png: 0, webp: 0, txt: 2, caption: 2, json: 4 };

interface Shard {
  readonly path: string;
  readonly keys: readonly string[];
  readonly table: Float64Array;
}

export interface TarOptions {
  readonly signal?: AbortSignal;
  /** Longest short side of pictures; 0 (default) leaves them as they are. */
  readonly side?: number;
  /** Told of parts of a shard that could not be understood. */
  readonly onWarn?: (message: string) => void;
}

/**
 * @param paths files, folders of .tar files, or patterns such as `cc3m-{00000..00255}.tar` and `cc3m-*.tar`
 * @throws E_USAGE when nothing is found or a shard is missing; E_IMAGE_FORMAT for compressed shards
 */
export async function openTarPairs(paths: readonly string[], options: TarOptions = {}): Promise<PairSource> {
  const files = (await Promise.all(paths.map(expandShards))).flat();
  if (files.length === 0)
    throw new WordmaskError('E_USAGE', `no .tar file is found at ${paths.map((path) => show(path)).join(', ')}`);
  const shards = new Array<Shard>(files.length);
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < files.length) {
      const at = next++;
      shards[at] = await indexShard(files[at] as string, options);
    }
  };
  await Promise.all(Array.from({ length: Math.min(shardsAtOnce, files.length) }, worker));
  const starts = [0];
  for (const { keys } of shards) starts.push((starts.at(-1) as number) + keys.length);
  const count = starts.at(-1) as number;
  if (count === 0)
    throw new WordmaskError('E_USAGE', `the shards ${files.slice(0, 4).join(', ')} hold no sample with a picture`);
  return {
    name: files.length === 1 ? (files[0] as string) : `${files.length} shards`,
    count,
    read: (requests, signal) =>
      mapPairs(requests, (request) => readSample(shards, starts, request, { side: options.side ?? 0, signal })),
    close: async () => undefined,
  };
}

async function readSample(
  shards: readonly Shard[],
  starts: readonly number[],
  { index }: PairRequest,
  options: LoadOptions,
): Promise<PairSample | PairProblem> {
  let [low, high] = [0, shards.length - 1];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if ((starts[middle] as number) <= index) low = middle;
    else high = middle - 1;
  }
  const shard = shards[low] as Shard;
  const row = index - (starts[low] as number);
  const key = `${basename(shard.path)}/${shard.keys[row]}`;
  const part = (field: number): [offset: number, size: number] => [
    shard.table[row * fields + field] as number,
    shard.table[row * fields + field + 1] as number,
  ];
  const [imageAt, imageSize] = part(0);
  if (imageAt === 0) return { key, code: 'E_IMAGE_FORMAT', problem: 'has no .jpg, .png or .webp member' };
  const { fileBytes } = imageLimits();
  if (imageSize > fileBytes)
    return { key, code: 'E_IMAGE_SIZE', problem: `has a picture of ${imageSize} bytes, the limit is ${fileBytes}` };
  const handle = await openRegular(shard.path);
  try {
    const fetch = async ([offset, size]: [number, number]): Promise<Buffer | undefined> => {
      if (offset === 0 || size > textLimit) return undefined;
      return readPart(handle, shard.path, offset, size, options.signal);
    };
    const captions = joinCaptions(await fetch(part(2)), await fetch(part(4)));
    const image = await readPart(handle, shard.path, imageAt, imageSize, options.signal);
    return await loadPair(key, image, captions, options);
  } finally {
    await handle.close();
  }
}

async function readPart(
  handle: Awaited<ReturnType<typeof openRegular>>,
  path: string,
  offset: number,
  size: number,
  signal?: AbortSignal,
): Promise<Buffer> {
  const bytes = Buffer.allocUnsafe(size);
  const got = await guardDisk('read', path, () => readFully(handle, bytes, offset, signal));
  return bytes.subarray(0, got);
}

/** Captions of the text member, then of the record; nouns of the record. */
function joinCaptions(text: Buffer | undefined, json: Buffer | undefined): Captions {
  const fromText: Captions = text ? captionsOfText(text) : { captions: [] };
  let fromJson: Captions = { captions: [] };
  try {
    if (json) fromJson = captionsOfRecord(parseJsonStrict(json, { code: 'E_LABEL', what: 'record' }));
  } catch {
    // A broken record is as good as none: the text may do.
  }
  const captions = [...new Set([...fromText.captions, ...fromJson.captions])];
  return { captions, ...(fromJson.nouns && { nouns: fromJson.nouns }) };
}

async function indexShard(path: string, { signal, onWarn }: TarOptions): Promise<Shard> {
  const handle = await openRegular(path, 'E_USAGE');
  try {
    await refuseCompressed(path, handle);
    const keys: string[] = [];
    let table = new Float64Array(fields * 1024);
    let current: string | undefined;
    const members = tarMembers(handle, (offset, bytes) => {
      current = undefined;
      onWarn?.(`${path}: ${bytes} bytes from byte ${offset} on are no tar member and are passed over`);
    });
    for await (const { name, offset, size } of members) {
      signal?.throwIfAborted();
      const dot = name.indexOf('.', name.lastIndexOf('/') + 1);
      const field = dot < 0 ? undefined : kinds[name.slice(dot + 1).toLowerCase()];
      if (field === undefined) continue;
      const key = name.slice(0, dot);
      if (key !== current) {
        current = key;
        keys.push(key);
        if (keys.length * fields > table.length) {
          const wider = new Float64Array(table.length * 2);
          wider.set(table);
          table = wider;
        }
      }
      table.set([offset, size], (keys.length - 1) * fields + field);
    }
    return { path, keys, table };
  } finally {
    await handle.close();
  }
}

async function refuseCompressed(path: string, handle: Awaited<ReturnType<typeof openRegular>>): Promise<void> {
  const head = Buffer.alloc(4);
  const got = await readFully(handle, head, 0);
  const magic = head.subarray(0, got).toString('hex');
  if (magic.startsWith('1f8b') || magic === '28b52ffd' || magic.startsWith('425a68'))
    throw new WordmaskError(
      'E_USAGE',
      `${path} is compressed: samples are fetched by place, so unpack it to a plain .tar`,
      {
        details: { path },
      },
    );
}

/** Files of a path: a folder's .tar files, `{000..255}` counted out, `*` matched in the last part. */
async function expandShards(path: string): Promise<string[]> {
  const braces = /^(.*)\{(\d+)\.\.(\d+)\}(.*)$/s.exec(path);
  if (braces) {
    const [, before = '', first = '', last = '', after = ''] = braces;
    const length = Number(last) - Number(first) + 1;
    if (length < 1 || length > mostShards)
      throw new WordmaskError('E_USAGE', `${show(path)} counts ${length} files; 1 to ${mostShards} are possible`);
    const names = Array.from(
      { length },
      (_, i) => `${before}${String(Number(first) + i).padStart(first.length, '0')}${after}`,
    );
    return (await Promise.all(names.map(expandShards))).flat();
  }
  const info = await stat(path).catch(() => undefined);
  if (info && !info.isDirectory()) return [path];
  const folder = info ? path : dirname(path);
  const pattern = info ? '*.tar' : basename(path);
  if (!info && !pattern.includes('*'))
    throw new WordmaskError('E_USAGE', `the shard ${path} does not exist: check the path`);
  const parts = pattern.split('*').map((part) => part.replace(/[.+?^${}()|[\]\\]/g, '\\$&'));
  const test = new RegExp(`^${parts.join('.*')}$`, 's');
  const names = await guardDisk('read', folder, () => readdir(folder));
  return names
    .filter((name) => !name.startsWith('.') && test.test(name))
    .sort()
    .map((name) => join(folder, name));
}
