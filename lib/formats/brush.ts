/**
 * Label Studio's brush run lengths (user-interfaces.md section 7): a bit stream of a 32-bit value count (4 x pixels),
 * 5 bits word size - 1, four 4-bit run widths - 1 (3, 4, 8, 16), then packets of run flag, 2-bit width choice, length - 1
 * and the value or values. The mask is in the alpha byte; the colour bytes repeat it, which keeps runs long.
 */
import { Mask } from '../image/mask.js';
import { WordmaskError } from '../util/errors.js';

const widths = [3, 4, 8, 16] as const;
const LONGEST = 2 ** 16;

class BitWriter {
  readonly bytes: number[] = [];
  #pending = 0;
  #count = 0;

  /** Appends the low `bits` bits of `value`, high bit first. */
  push(value: number, bits: number): void {
    for (let k = bits - 1; k >= 0; k--) {
      this.#pending = (this.#pending << 1) | ((value >>> k) & 1);
      if (++this.#count === 8) {
        this.bytes.push(this.#pending);
        [this.#pending, this.#count] = [0, 0];
      }
    }
  }

  done(): number[] {
    if (this.#count > 0) this.bytes.push(this.#pending << (8 - this.#count));
    [this.#pending, this.#count] = [0, 0];
    return this.bytes;
  }
}

/** Bytes of a mask as a list of numbers, as Label Studio's JSON has them. */
export function encodeBrush(mask: Mask): number[] {
  const out = new BitWriter();
  const total = mask.width * mask.height;
  out.push(total * 4, 32);
  out.push(7, 5);
  for (const width of widths) out.push(width - 1, 4);
  const run = (value: number, pixels: number): void => {
    for (let left = pixels * 4; left > 0; ) {
      const length = Math.min(left, LONGEST);
      const choice = widths.findIndex((width) => length <= 2 ** width);
      out.push(1, 1);
      out.push(choice, 2);
      out.push(length - 1, widths[choice] as number);
      out.push(value, 8);
      left -= length;
    }
  };
  let at = 0;
  mask.toggles.forEach((toggle, i) => {
    run(i % 2 === 1 ? 255 : 0, toggle - at);
    at = toggle;
  });
  run(0, total - at);
  return out.done();
}

/** The mask of brush bytes; a pixel is set where its alpha is not 0. Throws E_USAGE for a stream that does not fit. */
export function decodeBrush(bytes: readonly number[], width: number, height: number): Mask {
  let at = 0;
  const take = (bits: number): number => {
    let value = 0;
    for (let k = 0; k < bits; k++, at++) {
      const byte = bytes[at >> 3];
      if (byte === undefined || !(byte >= 0 && byte <= 255)) throw damaged(`it ends, or holds no byte, at bit ${at}`);
      value = value * 2 + ((byte >> (7 - (at & 7))) & 1);
    }
    return value;
  };
  const count = take(32);
  if (count !== width * height * 4) throw damaged(`it holds ${count} values, the picture needs ${width * height * 4}`);
  const wordBits = take(5) + 1;
  if (wordBits !== 8) throw damaged(`its words have ${wordBits} bits instead of 8`);
  const runWidths = [0, 1, 2, 3].map(() => take(4) + 1);
  const bitmap = new Uint8Array(width * height);
  for (let done = 0; done < count; ) {
    const isRun = take(1) === 1;
    const length = take(runWidths[take(2)] as number) + 1;
    if (done + length > count) throw damaged('its runs exceed the picture');
    if (isRun) {
      // Alpha is every fourth value: pixels whose fourth value lies inside the run.
      if (take(8) !== 0) bitmap.fill(1, done >> 2, (done + length) >> 2);
    } else {
      for (let k = 0; k < length; k++) if (take(8) !== 0 && ((done + k) & 3) === 3) bitmap[(done + k) >> 2] = 1;
    }
    done += length;
  }
  return Mask.fromBitmap(bitmap, width, height);
}

function damaged(reason: string): WordmaskError {
  return new WordmaskError('E_USAGE', `brush run lengths are damaged: ${reason}`);
}
