/** Two compressions of TIFF 6.0 (sections 9 and 13): PackBits and LZW. Both stop at `length` bytes of output. */
import { WordmaskError } from '../util/errors.js';
import type { Slices } from '../util/slices.js';

/** Codes between two looks at the clock. */
const grain = 1 << 14;

/** Runs: n >= 0 copies n + 1 bytes, n < 0 repeats the next byte 1 - n times, -128 does nothing. */
export async function unpackBits(packed: Uint8Array, length: number, slices: Slices): Promise<Uint8Array> {
  const out = new Uint8Array(length);
  let [from, to] = [0, 0];
  for (let codes = 0; to < length && from < packed.length; codes++) {
    const code = ((packed[from++] as number) << 24) >> 24;
    if (code >= 0) {
      const run = packed.subarray(from, from + Math.min(code + 1, length - to));
      out.set(run, to);
      to += run.length;
      from += code + 1;
    } else if (code > -128) {
      const end = Math.min(length, to + 1 - code);
      out.fill(packed[from++] ?? 0, to, end);
      to = end;
    }
    if (codes % grain === 0 && slices.due) await slices.pause();
  }
  return out.subarray(0, to);
}

const clear = 256;
const end = 257;
const tableSize = 4096;

/**
 * Codes of 9 to 12 bits, most significant bit first, one bit wider one code early. A table entry is its first occurrence in the
 * output: where it begins and how long it is.
 */
export async function unpackLzw(packed: Uint8Array, length: number, slices: Slices): Promise<Uint8Array> {
  const out = new Uint8Array(length);
  const starts = new Uint32Array(tableSize);
  const lengths = new Uint32Array(tableSize);
  let [to, next, width] = [0, 258, 9];
  // The string before: where it lies in the output; no length after a clear code.
  let [last, lastLength] = [0, 0];
  for (let bit = 0, codes = 0; to < length && bit + width <= packed.length * 8; codes++) {
    const code = readBits(packed, bit, width);
    bit += width;
    if (codes % grain === 0 && slices.due) await slices.pause();
    if (code === end) break;
    if (code === clear) {
      [next, width, lastLength] = [258, 9, 0];
      continue;
    }
    if (code > next || (code === next && lastLength === 0)) throw damaged(code, next);
    if (lastLength > 0 && next < tableSize) {
      starts[next] = last;
      // One byte more than the string before: the first one of this string, which follows it in the output.
      lengths[next] = lastLength + 1;
      next++;
    }
    const size = code < 256 ? 1 : (lengths[code] as number);
    if (size === 0) throw damaged(code, next);
    if (code < 256) out[to] = code;
    // Byte by byte: the string may reach into itself.
    else
      for (let i = 0, at = starts[code] as number; i < size && to + i < length; i++)
        out[to + i] = out[at + i] as number;
    [last, lastLength] = [to, size];
    to += size;
    if (next >= (1 << width) - 1 && width < 12) width++;
  }
  return out.subarray(0, Math.min(to, length));
}

function readBits(packed: Uint8Array, bit: number, width: number): number {
  const at = bit >> 3;
  const three = ((packed[at] as number) << 16) | ((packed[at + 1] ?? 0) << 8) | (packed[at + 2] ?? 0);
  return (three >> (24 - (bit & 7) - width)) & ((1 << width) - 1);
}

function damaged(code: number, next: number): WordmaskError {
  return new WordmaskError(
    'E_IMAGE_CORRUPT',
    `damaged TIFF file: LZW code ${code} where the table ends at ${next - 1}`,
  );
}
