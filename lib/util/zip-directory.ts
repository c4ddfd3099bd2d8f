/** The directory at the end of a ZIP archive (APPNOTE 6.3.10, sections 4.3.12 to 4.3.16): what it lists, nothing unpacked. */

export interface ZipEntry {
  readonly name: string;
  readonly encrypted: boolean;
  /** 0 stored, 8 deflated. */
  readonly method: number;
  readonly crc: number;
  /** Bytes in the archive and bytes unpacked. */
  readonly packed: number;
  readonly size: number;
  /** Byte of the archive at which the entry's local header begins. */
  readonly offset: number;
}

export interface ZipDirectory {
  readonly count: number;
  readonly begin: number;
  readonly bytes: number;
}

/** Most bytes that can follow the directory: end record, its comment, and the two records of ZIP64. */
export const zipTailBytes = 22 + 0xffff + 20 + 56;

const end32 = 0x06054b50;
const end64 = 0x06064b50;
const locator64 = 0x07064b50;
const entryMark = 0x02014b50;

/**
 * Where the directory lies.
 * @param tail the last bytes of the archive (`zipTailBytes`, or all of it)
 * @param size bytes of the archive
 * @param fail throws the caller's error
 */
export function findZipDirectory(tail: Buffer, size: number, fail: (reason: string) => never): ZipDirectory {
  const at = lastMark(tail);
  if (at < 0) fail('it has no directory (truncated?)');
  const tailBegin = size - tail.length;
  let count = tail.readUInt16LE(at + 10);
  let bytes = tail.readUInt32LE(at + 12);
  let begin = tail.readUInt32LE(at + 16);
  let limit = tailBegin + at;
  if (at >= 20 && tail.readUInt32LE(at - 20) === locator64) {
    const record = Number(tail.readBigUInt64LE(at - 12)) - tailBegin;
    if (!(record >= 0 && record + 56 <= at) || tail.readUInt32LE(record) !== end64)
      fail('its ZIP64 end record is not where it should be');
    count = safe(tail.readBigUInt64LE(record + 32), fail);
    bytes = safe(tail.readBigUInt64LE(record + 40), fail);
    begin = safe(tail.readBigUInt64LE(record + 48), fail);
    limit = tailBegin + record;
  }
  if (begin + bytes > limit) fail(`its directory of ${bytes} bytes at ${begin} reaches beyond its place`);
  if (count * 46 > bytes) fail(`its directory of ${bytes} bytes cannot hold ${count} entries`);
  return { count, begin, bytes };
}

/** The end record whose comment reaches exactly to the end of the archive. */
function lastMark(tail: Buffer): number {
  for (let at = tail.length - 22; at >= 0; at--)
    if (tail.readUInt32LE(at) === end32 && at + 22 + tail.readUInt16LE(at + 20) === tail.length) return at;
  return -1;
}

/** The entries of a directory that was read whole. */
export function parseZipDirectory(directory: Buffer, count: number, fail: (reason: string) => never): ZipEntry[] {
  const entries: ZipEntry[] = [];
  let at = 0;
  for (let k = 0; k < count; k++) {
    if (at + 46 > directory.length || directory.readUInt32LE(at) !== entryMark) fail(`directory entry ${k} is missing`);
    const nameEnd = at + 46 + directory.readUInt16LE(at + 28);
    const extraEnd = nameEnd + directory.readUInt16LE(at + 30);
    if (extraEnd > directory.length) fail(`directory entry ${k} is cut short`);
    const sizes = { size: directory.readUInt32LE(at + 24), packed: directory.readUInt32LE(at + 20) };
    const wide = wideSizes(
      directory.subarray(nameEnd, extraEnd),
      { ...sizes, offset: directory.readUInt32LE(at + 42) },
      fail,
    );
    entries.push({
      name: directory.toString('utf8', at + 46, nameEnd),
      encrypted: (directory.readUInt16LE(at + 8) & 1) !== 0,
      method: directory.readUInt16LE(at + 10),
      crc: directory.readUInt32LE(at + 16),
      ...wide,
    });
    at = extraEnd + directory.readUInt16LE(at + 32);
  }
  return entries;
}

type Sizes = Pick<ZipEntry, 'size' | 'packed' | 'offset'>;

/** A field of all ones stands for 64 bits in the extra field 1: those that need it, in this order. */
function wideSizes(extra: Buffer, sizes: Sizes, fail: (reason: string) => never): Sizes {
  const wide = { ...sizes };
  const missing = (['size', 'packed', 'offset'] as const).filter((field) => sizes[field] === 0xffffffff);
  if (missing.length === 0) return wide;
  for (let at = 0; at + 4 <= extra.length; at += 4 + extra.readUInt16LE(at + 2)) {
    if (extra.readUInt16LE(at) !== 1) continue;
    if (at + 4 + 8 * missing.length > extra.length) break;
    missing.forEach((field, k) => {
      wide[field] = safe(extra.readBigUInt64LE(at + 4 + 8 * k), fail);
    });
    return wide;
  }
  return fail('an entry over 4 GiB does not say its size');
}

function safe(value: bigint, fail: (reason: string) => never): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) fail(`it names byte ${value}, far beyond its end`);
  return Number(value);
}
