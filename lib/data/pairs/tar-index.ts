/**
 * Where the members of a tar file lie (POSIX.1-1988 ustar, pax and GNU long names), found by reading headers alone. A broken
 * header costs the bytes up to the next sound one, a file that ends early its last member.
 */
import type { FileHandle } from 'node:fs/promises';
import { readFully } from '../../util/files.js';

const block = 512;
/** Read at a time: a header with the small members behind it. */
const windowBytes = 4096;
/** Longest name or pax record that is read. */
const longestName = 64 << 10;

export interface TarMember {
  readonly name: string;
  /** Where its bytes begin in the file. */
  readonly offset: number;
  readonly size: number;
}

interface Header {
  readonly name: string;
  readonly size: number;
  readonly type: string;
}

/** Reads a file piece by piece, keeping the last piece. */
class Window {
  #bytes = Buffer.alloc(0);
  #begin = 0;

  constructor(
    private readonly handle: FileHandle,
    readonly size: number,
  ) {}

  async read(offset: number, length: number): Promise<Buffer> {
    if (offset < this.#begin || offset + length > this.#begin + this.#bytes.length) {
      const target = Buffer.allocUnsafe(Math.max(length, windowBytes));
      const got = await readFully(this.handle, target, offset);
      this.#bytes = target.subarray(0, got);
      this.#begin = offset;
    }
    return this.#bytes.subarray(offset - this.#begin, offset - this.#begin + length);
  }
}

/**
 * All regular files of a tar file, in order.
 * @param onBroken called with the first byte that could not be understood and how many were passed over
 */
export async function* tarMembers(
  handle: FileHandle,
  onBroken: (offset: number, bytes: number) => void,
): AsyncGenerator<TarMember> {
  const window = new Window(handle, (await handle.stat()).size);
  let named: { name?: string; size?: number } = {};
  for (let at = 0; at + block <= window.size; ) {
    const bytes = await window.read(at, block);
    if (bytes.every((byte) => byte === 0)) {
      at += block;
      continue;
    }
    const header = parseHeader(bytes);
    if (!header) {
      const next = await nextHeader(window, at + block);
      onBroken(at, next - at);
      at = next;
      named = {};
      continue;
    }
    const offset = at + block;
    const special = 'xLgK'.includes(header.type);
    const size = special ? header.size : (named.size ?? header.size);
    if (offset + size > window.size) {
      // The size may be what is broken: members behind it are looked for.
      const next = await nextHeader(window, offset);
      onBroken(at, next - at);
      at = next;
      named = {};
      continue;
    }
    if (special) named = { ...named, ...(await longName(window, header, offset)) };
    else {
      if (header.type === '0' || header.type === '\0' || header.type === '7')
        yield { name: named.name ?? header.name, offset, size };
      named = {};
    }
    at = offset + Math.ceil(size / block) * block;
  }
}

/** The next block that is a header with the right checksum; the file's end where there is none. */
async function nextHeader(window: Window, from: number): Promise<number> {
  for (let at = from; at + block <= window.size; at += block) {
    const bytes = await window.read(at, block);
    if (bytes.toString('latin1', 257, 262) === 'ustar' && parseHeader(bytes)) return at;
  }
  return window.size;
}

function parseHeader(bytes: Buffer): Header | undefined {
  const stated = number(bytes, 148, 8);
  let sum = 8 * 0x20;
  for (let i = 0; i < block; i++) if (i < 148 || i >= 156) sum += bytes[i] as number;
  const size = number(bytes, 124, 12);
  if (stated !== sum || size === undefined) return undefined;
  const ustar = bytes.toString('latin1', 257, 263) === 'ustar\0';
  const prefix = ustar ? text(bytes, 345, 155) : '';
  const name = text(bytes, 0, 100);
  return { name: prefix === '' ? name : `${prefix}/${name}`, size, type: String.fromCharCode(bytes[156] as number) };
}

function text(bytes: Buffer, begin: number, length: number): string {
  const end = bytes.indexOf(0, begin);
  return bytes.toString('utf8', begin, end < 0 ? begin + length : Math.min(end, begin + length));
}

/** Octal text, or GNU's binary form for large files. */
function number(bytes: Buffer, begin: number, length: number): number | undefined {
  if ((bytes[begin] as number) === 0x80) {
    const value = bytes.subarray(begin + 1, begin + length).reduce((sum, byte) => sum * 256 + byte, 0);
    return Number.isSafeInteger(value) ? value : undefined;
  }
  const digits = bytes
    .toString('latin1', begin, begin + length)
    .replace(/[\0 ]+$/, '')
    .trimStart();
  return /^[0-7]+$/.test(digits) ? Number.parseInt(digits, 8) : undefined;
}

/** What a pax (`x`) or GNU (`L`) member says about the next one. Others (`g`, `K`) say nothing of use here. */
async function longName(
  window: Window,
  { type, size }: Header,
  offset: number,
): Promise<{ name?: string; size?: number }> {
  if (size > longestName || type === 'g' || type === 'K') return {};
  const bytes = await window.read(offset, size);
  if (type === 'L') return { name: bytes.toString('utf8').replace(/\0.*$/s, '') };
  const found: { name?: string; size?: number } = {};
  for (let at = 0; at < bytes.length; ) {
    const space = bytes.indexOf(0x20, at);
    const length = Number(bytes.toString('latin1', at, Math.max(at, space)));
    if (!Number.isInteger(length) || length < 5 || at + length > bytes.length) break;
    const [key = '', ...value] = bytes.toString('utf8', space + 1, at + length - 1).split('=');
    if (key === 'path') found.name = value.join('=');
    if (key === 'size' && /^\d{1,15}$/.test(value[0] ?? '')) found.size = Number(value[0]);
    at += length;
  }
  return found;
}
