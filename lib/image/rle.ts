/**
 * COCO run lengths (user-interfaces.md section 7): counts of zeros and ones in turn in column-major order, zeros
 * first; compressed, each count from the fourth on is the difference to the count two back, written in 5-bit groups.
 */
import { show, WordmaskError } from '../util/errors.js';
import { PositionList } from './runs.js';

/** `counts` is the compressed text or the list of numbers; `size` is [height, width]. */
export interface Rle {
  size: [number, number];
  counts: string | number[];
}

/** Column-major toggles as counts that sum to `total`. */
export function countsOf(toggles: Uint32Array, total: number): number[] {
  const counts: number[] = [];
  let at = 0;
  for (const toggle of toggles) {
    counts.push(toggle - at);
    at = toggle;
  }
  if (at < total || counts.length === 0) counts.push(total - at);
  return counts;
}

/** Counts as column-major toggles. Throws E_USAGE unless they are whole, not negative and sum to `total`. */
export function togglesOfCounts(counts: readonly number[], total: number): Uint32Array {
  const list = new PositionList();
  let at = 0;
  counts.forEach((count, i) => {
    if (!Number.isInteger(count) || count < 0)
      throw badRle(`count ${i} is ${show(count)}, not a whole number of at least 0`);
    at += count;
    if (at > total) throw badRle(`its counts exceed the ${total} pixels of its size`);
    if (i < counts.length - 1 || at < total) list.toggle(at);
  });
  if (at !== total) throw badRle(`its counts sum to ${at} instead of ${total} pixels`);
  // A last run of ones needs its end; a last run of zeros ends nothing.
  if (list.length % 2 === 1) list.push(total);
  return list.done();
}

/** Counts as COCO's compressed text. */
export function compressCounts(counts: readonly number[]): string {
  const bytes: number[] = [];
  let text = '';
  counts.forEach((count, i) => {
    let value = i > 2 ? count - (counts[i - 2] as number) : count;
    for (let more = true; more; ) {
      let group = value & 31;
      value >>= 5;
      more = group & 16 ? value !== -1 : value !== 0;
      if (more) group |= 32;
      bytes.push(group + 48);
    }
    if (bytes.length > 8192) text += String.fromCharCode(...bytes.splice(0));
  });
  return text + String.fromCharCode(...bytes);
}

/** COCO's compressed text as counts. Throws E_USAGE for characters outside 0..o and for numbers that do not end. */
export function expandCounts(text: string): number[] {
  const counts: number[] = [];
  for (let at = 0; at < text.length; ) {
    let value = 0;
    let scale = 1;
    for (let more = true; more; at++) {
      const group = text.charCodeAt(at) - 48;
      if (!(group >= 0 && group < 64))
        throw badRle(at < text.length ? `character ${at} is ${show(text[at])}` : 'its last number does not end');
      if (scale > 2 ** 30) throw badRle(`the number at character ${at} is too long`);
      value += (group & 31) * scale;
      scale *= 32;
      more = (group & 32) !== 0;
      if (!more && group & 16) value -= scale;
    }
    counts.push(counts.length > 2 ? value + (counts[counts.length - 2] as number) : value);
  }
  return counts;
}

export function badRle(reason: string): WordmaskError {
  return new WordmaskError('E_USAGE', `run-length mask is malformed: ${reason}`);
}
