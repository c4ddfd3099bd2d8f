/** Just enough ZIP for label archives: stored or deflated entries, no encryption. Every size is checked before it is used. */

import { promisify } from 'node:util';
import { crc32, inflateRaw } from 'node:zlib';
import { WordmaskError } from '../util/errors.js';
import { findZipDirectory, parseZipDirectory, type ZipEntry, zipTailBytes } from '../util/zip-directory.js';
import type { FormatFile } from './format.js';

const inflate = promisify(inflateRaw);
const MAX_ENTRIES = 65_535;
const MAX_ENTRY_BYTES = 2 ** 30;

/** An archive of stored entries with fixed dates: the same files give the same bytes. PNGs would not shrink further. */
export function writeZip(files: readonly FormatFile[]): Uint8Array {
  const parts: Buffer[] = [];
  const directory: Buffer[] = [];
  let at = 0;
  for (const { name, bytes } of files) {
    const encoded = Buffer.from(name, 'utf8');
    const common = Buffer.alloc(26);
    common.writeUInt16LE(20, 0);
    common.writeUInt16LE(0x0800, 2); // names are UTF-8
    common.writeUInt32LE(0x0021_0000, 6); // 1980-01-01
    common.writeUInt32LE(crc32(bytes), 10);
    common.writeUInt32LE(bytes.length, 14);
    common.writeUInt32LE(bytes.length, 18);
    common.writeUInt16LE(encoded.length, 22);
    parts.push(
      Buffer.from('PK\x03\x04', 'latin1'),
      common,
      encoded,
      Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength),
    );
    const tail = Buffer.alloc(14);
    tail.writeUInt32LE(at, 10);
    directory.push(Buffer.from('PK\x01\x02\x14\x00', 'latin1'), common, tail, encoded);
    at += 30 + encoded.length + bytes.length;
  }
  const index = Buffer.concat(directory);
  const end = Buffer.alloc(22);
  end.write('PK\x05\x06', 'latin1');
  end.writeUInt16LE(files.length, 8);
  end.writeUInt16LE(files.length, 10);
  end.writeUInt32LE(index.length, 12);
  end.writeUInt32LE(at, 16);
  return new Uint8Array(Buffer.concat([...parts, index, end]));
}

/** The entries for which `wanted` holds. Throws E_USAGE for archives that are damaged or use what is not read here. */
export async function readZip(input: Uint8Array, wanted: (name: string) => boolean): Promise<FormatFile[]> {
  const bytes = Buffer.from(input.buffer, input.byteOffset, input.byteLength);
  const tail = bytes.subarray(Math.max(0, bytes.length - zipTailBytes));
  const { count, begin, bytes: length } = findZipDirectory(tail, bytes.length, damage);
  if (count >= MAX_ENTRIES) damage('it has too many entries');
  const files: FormatFile[] = [];
  for (const entry of parseZipDirectory(bytes.subarray(begin, begin + length), count, damage))
    if (wanted(entry.name)) files.push({ name: entry.name, bytes: await readEntry(bytes, entry) });
  return files;
}

async function readEntry(bytes: Buffer, entry: ZipEntry): Promise<Uint8Array> {
  const { name, method, crc, packed, size, offset } = entry;
  if (entry.encrypted || (method !== 0 && method !== 8))
    throw damaged(`${JSON.stringify(name)} is encrypted or packed by method ${method}`);
  if (
    size > MAX_ENTRY_BYTES ||
    offset + 30 > bytes.length ||
    bytes.toString('latin1', offset, offset + 4) !== 'PK\x03\x04'
  )
    throw damaged(`${JSON.stringify(name)} has no valid header`);
  const begin = offset + 30 + bytes.readUInt16LE(offset + 26) + bytes.readUInt16LE(offset + 28);
  if (begin + packed > bytes.length) throw damaged(`${JSON.stringify(name)} reaches beyond the end`);
  const body = bytes.subarray(begin, begin + packed);
  const content =
    method === 0
      ? body
      : await inflate(body, { maxOutputLength: Math.max(1, size) }).catch((cause: unknown) => {
          throw damaged(`${JSON.stringify(name)} cannot be inflated to ${size} bytes`, cause);
        });
  if (content.length !== size || crc32(content) !== crc)
    throw damaged(`${JSON.stringify(name)} has a wrong size or checksum`);
  return new Uint8Array(content);
}

function damage(reason: string): never {
  throw damaged(reason);
}

function damaged(reason: string, cause?: unknown): WordmaskError {
  return new WordmaskError('E_USAGE', `the zip archive cannot be read: ${reason}`, { cause });
}
