/** The zip archive of a PyTorch checkpoint: its entries checked against each other, read one by one, inflated where needed. */
import type { FileHandle } from 'node:fs/promises';
import { promisify } from 'node:util';
import { crc32, inflateRaw } from 'node:zlib';
import { show } from '../../util/errors.js';
import { guardDisk, readFully } from '../../util/files.js';
import { findZipDirectory, parseZipDirectory, type ZipEntry, zipTailBytes } from '../../util/zip-directory.js';
import { weightsError } from '../header-scanner.js';

const inflate = promisify(inflateRaw);

export const archiveLimits = { directoryBytes: 64 << 20, expansion: 20, nameBytes: 1024 } as const;

export class Archive {
  private constructor(
    readonly path: string,
    readonly bytes: number,
    /** By the name below the one folder that everything lies in. */
    readonly entries: ReadonlyMap<string, ZipEntry>,
    private readonly handle: FileHandle,
  ) {}

  /** @throws E_WEIGHTS naming the entry; E_DISK */
  static async open(path: string, handle: FileHandle, signal?: AbortSignal): Promise<Archive> {
    const fail = (reason: string): never => {
      throw weightsError(path, `the zip archive cannot be read: ${reason}`);
    };
    return guardDisk('read', path, async () => {
      const { size } = await handle.stat();
      const tail = Buffer.alloc(Math.min(size, zipTailBytes));
      await readFully(handle, tail, size - tail.length, signal);
      const { begin, bytes, count } = findZipDirectory(tail, size, fail);
      if (bytes > archiveLimits.directoryBytes)
        fail(`its directory has ${bytes} bytes, the limit is ${archiveLimits.directoryBytes}`);
      const directory = Buffer.alloc(bytes);
      await readFully(handle, directory, begin, signal);
      const entries = parseZipDirectory(directory, count, fail);
      checkEntries(entries, size, begin, fail);
      return new Archive(path, size, belowFolder(entries, fail), handle);
    });
  }

  /** Byte of the file at which an entry's content begins. @throws E_WEIGHTS */
  async contentAt(name: string, entry: ZipEntry, signal?: AbortSignal): Promise<number> {
    const header = Buffer.alloc(30);
    await guardDisk('read', this.path, () => readFully(this.handle, header, entry.offset, signal));
    const begin = entry.offset + 30 + header.readUInt16LE(26) + header.readUInt16LE(28);
    const streamed = (header.readUInt16LE(6) & 8) !== 0;
    const sizes = [header.readUInt32LE(18), header.readUInt32LE(22)];
    const differs =
      !streamed && ![entry.packed, entry.size].every((bytes, k) => sizes[k] === bytes || sizes[k] === 0xffffffff);
    if (header.readUInt32LE(0) !== 0x04034b50 || header.readUInt16LE(8) !== entry.method || differs)
      throw this.#wrong(name, 'does not say in its place what the directory says');
    if (begin + entry.packed > this.bytes) throw this.#wrong(name, 'reaches beyond the end of the file');
    return begin;
  }

  /** The content of an entry, whole. @throws E_WEIGHTS */
  async read(name: string, entry: ZipEntry, signal?: AbortSignal): Promise<Buffer> {
    const begin = await this.contentAt(name, entry, signal);
    const packed = Buffer.alloc(entry.packed);
    const read = await guardDisk('read', this.path, () => readFully(this.handle, packed, begin, signal));
    if (read !== packed.length) throw this.#wrong(name, 'ends early: the file was changed while in use');
    const content =
      entry.method === 0
        ? packed
        : await inflate(packed, { maxOutputLength: Math.max(1, entry.size) }).catch(() => undefined);
    if (content?.length !== entry.size)
      throw this.#wrong(name, `does not unpack to the ${entry.size} bytes that the directory names`);
    // PyTorch can be told to leave the sums out.
    if (entry.crc !== 0 && crc32(content) !== entry.crc) throw this.#wrong(name, 'has a wrong checksum: it is damaged');
    return content;
  }

  /** A part of a stored entry's content, its checksum unseen. @throws E_WEIGHTS */
  async readPart(name: string, entry: ZipEntry, first: number, length: number, signal?: AbortSignal): Promise<Buffer> {
    const begin = await this.contentAt(name, entry, signal);
    const part = Buffer.alloc(length);
    const read = await guardDisk('read', this.path, () => readFully(this.handle, part, begin + first, signal));
    if (read !== length) throw this.#wrong(name, 'ends early: the file was changed while in use');
    return part;
  }

  #wrong(name: string, reason: string): Error {
    return weightsError(this.path, `the entry ${show(name)} of the zip archive ${reason}`, { entry: name });
  }
}

function checkEntries(
  entries: readonly ZipEntry[],
  fileBytes: number,
  directoryBegin: number,
  fail: (reason: string) => never,
): void {
  let unpacked = 0;
  let end = 0;
  let before = '';
  for (const entry of [...entries].sort((a, b) => a.offset - b.offset)) {
    const { name, method, packed, size, offset } = entry;
    if (!plainPath(name)) fail(`the entry ${show(name)} is no plain path inside the archive`);
    if (entry.encrypted || (method !== 0 && method !== 8))
      fail(`the entry ${show(name)} is encrypted or packed by method ${method}`);
    if (method === 0 && packed !== size)
      fail(`the entry ${show(name)} is stored in ${packed} bytes and said to have ${size}`);
    if (offset < end) fail(`the entries ${show(before)} and ${show(name)} overlap`);
    end = offset + 30 + Buffer.byteLength(name) + packed;
    if (end > directoryBegin) fail(`the entry ${show(name)} of ${packed} bytes reaches beyond its place`);
    unpacked += size;
    before = name;
  }
  if (unpacked > archiveLimits.expansion * fileBytes)
    fail(`it would unpack to ${unpacked} bytes, more than ${archiveLimits.expansion} times its ${fileBytes}`);
}

/** Nothing is written under these names; a path that leads elsewhere is a sign of a forged file all the same. */
function plainPath(name: string): boolean {
  if (name.length === 0 || Buffer.byteLength(name) > archiveLimits.nameBytes) return false;
  if (/[\\\x00-\x1f:]/.test(name) || name.startsWith('/')) return false;
  return name.split('/').every((part) => part !== '..' && part !== '.');
}

/** Names below the archive's single folder. */
function belowFolder(entries: readonly ZipEntry[], fail: (reason: string) => never): Map<string, ZipEntry> {
  const pickle = entries.filter(({ name }) => /^[^/]+\/data\.pkl$/.test(name));
  if (pickle.length !== 1) fail(`it holds ${pickle.length} entries FOLDER/data.pkl, a checkpoint of PyTorch holds one`);
  const folder = (pickle[0] as ZipEntry).name.slice(0, -'data.pkl'.length);
  const below = new Map<string, ZipEntry>();
  for (const entry of entries) {
    if (!entry.name.startsWith(folder)) fail(`the entry ${show(entry.name)} lies outside of ${show(folder)}`);
    const name = entry.name.slice(folder.length);
    if (below.has(name)) fail(`the entry ${show(entry.name)} is there twice`);
    below.set(name, entry);
  }
  return below;
}
