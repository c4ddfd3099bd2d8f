/** What is to be segmented: files, folders, globs, lists and stdin, as one list of images without repetition. */
import { readdir, stat } from 'node:fs/promises';
import { basename, dirname, extname, join, relative, resolve } from 'node:path';
import { show, WordmaskError } from '../util/errors.js';
import { readFileLimited } from '../util/files.js';
import { parseJsonStrict } from '../util/json.js';
import { expandGlob, isGlob } from './glob.js';

export interface InputImage {
  /** As the user would write it; `-` is stdin. */
  readonly path: string;
  /** Path below the output folder, without extension; kept from a searched folder or given by a list. */
  readonly name: string;
}

export interface Inputs {
  readonly images: readonly InputImage[];
  /** False for a single image named on the command line: it needs no manifest. */
  readonly batch: boolean;
}

const extensions: Readonly<Record<string, readonly string[]>> = {
  jpeg: ['.jpg', '.jpeg', '.jpe', '.jfif'],
  png: ['.png'],
  webp: ['.webp'],
  tiff: ['.tif', '.tiff'],
  avif: ['.avif'],
};
const listLimit = 256 << 20;

export interface InputOptions {
  /** Formats that a searched folder is looked through for. */
  readonly formats?: readonly string[];
  /** Never searched: what a run wrote is not its input. */
  readonly exclude?: string;
}

/** @throws E_USAGE for what does not exist or holds no image, for a bad list; E_DISK */
export async function expandInputs(args: readonly string[], options: InputOptions = {}): Promise<Inputs> {
  const images = new Map<string, InputImage>();
  let batch = args.length > 1;
  for (const arg of args) {
    const found = await expandOne(arg, options);
    batch ||= found === undefined ? false : !found.single;
    for (const image of found.images) {
      const key = image.path === '-' ? '-' : resolve(image.path);
      if (!images.has(key)) images.set(key, image);
    }
  }
  if (images.size === 0)
    throw new WordmaskError('E_USAGE', `no image found in ${args.map((arg) => show(arg)).join(', ')}`);
  return { images: [...images.values()], batch };
}

async function expandOne(arg: string, options: InputOptions): Promise<{ images: InputImage[]; single: boolean }> {
  if (arg === '-') return { images: [{ path: '-', name: 'stdin' }], single: true };
  if (arg.startsWith('@')) return { images: await readList(arg.slice(1)), single: false };
  if (/^[a-z][a-z0-9+.-]+:\/\//i.test(arg) && !/^file:/i.test(arg))
    throw new WordmaskError(
      'E_URL_FORBIDDEN',
      `${show(arg)} is not a local file: fetch it yourself and pass the file or stdin`,
    );
  const info = await stat(arg).catch(() => undefined);
  if (info?.isDirectory()) return { images: await searchFolder(arg, options), single: false };
  if (info)
    return arg.endsWith('.jsonl')
      ? { images: await readList(arg), single: false }
      : { images: [image(arg)], single: true };
  if (!isGlob(arg))
    throw new WordmaskError('E_USAGE', `${show(arg)} does not exist: check the path`, { details: { path: arg } });
  const paths = await expandGlob(arg);
  if (paths.length === 0) throw new WordmaskError('E_USAGE', `no file fits the pattern ${show(arg)}`);
  return { images: paths.map((path) => image(path)), single: false };
}

function image(path: string, name = basename(path, extname(path))): InputImage {
  return { path, name };
}

/** All images below a folder, in the order of their paths; links to folders are not followed. */
async function searchFolder(folder: string, options: InputOptions): Promise<InputImage[]> {
  const known = new Set((options.formats ?? ['jpeg', 'png', 'webp']).flatMap((format) => extensions[format] ?? []));
  const exclude = options.exclude === undefined ? undefined : resolve(options.exclude);
  const images: InputImage[] = [];
  const search = async (path: string): Promise<void> => {
    const entries = await readdir(path, { withFileTypes: true });
    for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      const inner = join(path, entry.name);
      if (entry.name.startsWith('.') || resolve(inner) === exclude) continue;
      if (entry.isDirectory()) await search(inner);
      else if (known.has(extname(entry.name).toLowerCase())) {
        const below = relative(folder, inner);
        images.push(image(inner, below.slice(0, below.length - extname(below).length)));
      }
    }
  };
  await search(folder);
  if (images.length === 0)
    throw new WordmaskError('E_USAGE', `the folder ${show(folder)} holds no image (${[...known].join(', ')})`);
  return images;
}

/**
 * A path a line, or JSON lines: a text, or an object with `image` (also `path`, `input`) and optionally `name`. Relative paths
 * start at the list's folder; `-` reads the list from stdin, relative to the working folder.
 */
async function readList(list: string): Promise<InputImage[]> {
  const bytes = list === '-' ? await readStdin() : await readFileLimited(list, { limit: listLimit, code: 'E_USAGE' });
  const folder = list === '-' ? '.' : dirname(list);
  const lines = bytes
    .toString('utf8')
    .replace(/^\uFEFF/, '')
    .split(/\r?\n/);
  return lines.flatMap((line, at) => {
    const text = line.trim();
    if (text === '') return [];
    const entry =
      text.startsWith('{') || text.startsWith('"') ? parseLine(text, `${list}, line ${at + 1}`) : { path: text };
    return [image(resolve(entry.path) === entry.path ? entry.path : join(folder, entry.path), entry.name)];
  });
}

function parseLine(text: string, what: string): { path: string; name?: string } {
  const value = parseJsonStrict(text, { code: 'E_USAGE', what });
  if (typeof value === 'string' && value !== '') return { path: value };
  const { image, path = image, input = path, name } = (value ?? {}) as Record<string, unknown>;
  if (typeof input !== 'string' || input === '')
    throw new WordmaskError('E_USAGE', `${what}: needs a path under "image", got ${show(text)}`);
  if (name === undefined) return { path: input };
  if (typeof name !== 'string' || !isPlainName(name))
    throw new WordmaskError('E_USAGE', `${what}: name must be a relative path without "..", got ${show(name)}`);
  return { path: input, name };
}

function isPlainName(name: string): boolean {
  const parts = name.split(/[\\/]/);
  return (
    name.length <= 1024 && !/\p{Cc}/u.test(name) && parts.every((part) => part !== '' && part !== '.' && part !== '..')
  );
}

async function readStdin(): Promise<Buffer> {
  const pieces: Buffer[] = [];
  let total = 0;
  for await (const piece of process.stdin) {
    total += (piece as Buffer).length;
    if (total > listLimit) throw new WordmaskError('E_USAGE', `the list on stdin has more than ${listLimit} bytes`);
    pieces.push(piece as Buffer);
  }
  return Buffer.concat(pieces);
}

/** The images of part `i/n`: every n-th, so that parts take about the same time. @throws E_OPTION */
export function takeShard<T>(items: readonly T[], shard: string | undefined): T[] {
  if (shard === undefined) return [...items];
  const { index, count } = parseShard(shard);
  return items.filter((_, i) => i % count === index - 1);
}

export function parseShard(shard: string): { index: number; count: number } {
  const match = /^(\d{1,6})\/(\d{1,6})$/.exec(shard);
  const [index, count] = [Number(match?.[1]), Number(match?.[2])];
  if (!match || index < 1 || index > count)
    throw new WordmaskError('E_OPTION', `--shard must be I/N with I from 1 to N, such as 2/8, got ${show(shard)}`, {
      details: { option: 'shard', value: shard },
    });
  return { index, count };
}
