/** A strict scanner of the JSON that a safetensors header may hold: objects, strings and lists of whole numbers. */
import { show, WordmaskError } from '../util/errors.js';

export function weightsError(path: string, text: string, details: Record<string, unknown> = {}): WordmaskError {
  return new WordmaskError('E_WEIGHTS', `${path}: ${text}`, { details: { file: path, ...details } });
}

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** A cursor over the header's bytes that knows JSON blanks, strings and unsigned integers. */
export class Scanner {
  private at_ = 0;
  private readonly bytes: Buffer;

  constructor(
    private readonly path: string,
    bytes: Uint8Array,
  ) {
    this.bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  fail(text: string, tensor?: string, details: Record<string, unknown> = {}): never {
    throw weightsError(this.path, `the header ${text.startsWith('tensor ') ? 'is wrong: ' : ''}${text}`, {
      offset: 8 + this.at_,
      ...(tensor === undefined ? {} : { tensor }),
      ...details,
    });
  }

  private blank(): void {
    for (;;) {
      const c = this.bytes[this.at_];
      if (c !== 0x20 && c !== 0x0a && c !== 0x0d && c !== 0x09) return;
      this.at_++;
    }
  }

  at(mark: string): boolean {
    this.blank();
    return this.bytes[this.at_] === mark.charCodeAt(0);
  }

  take(mark: string): boolean {
    const hit = this.at(mark);
    if (hit) this.at_++;
    return hit;
  }

  expect(mark: string, tensor?: string): void {
    if (this.take(mark)) return;
    const c = this.bytes[this.at_];
    const found = c === undefined ? 'the end' : c >= 0x20 && c < 0x7f ? show(String.fromCharCode(c)) : `byte ${c}`;
    this.fail(`has ${found} at byte ${8 + this.at_} where "${mark}" must stand`, tensor);
  }

  /** A string of at most `limit` bytes in the file. */
  string(limit = Number.MAX_SAFE_INTEGER): string {
    this.expect('"');
    const start = this.at_;
    let escaped = false;
    let highest = 0;
    for (; ; this.at_++) {
      const c = this.bytes[this.at_];
      if (c === 0x22) break;
      if (c === undefined) this.fail('ends inside a string');
      if ((c as number) < 0x20) this.fail(`holds the control character ${c} inside a string`);
      highest |= c as number;
      if (c === 0x5c) {
        escaped = true;
        this.at_++;
      }
      if (this.at_ - start > limit) this.fail(`holds a name or word of more than ${limit} bytes`, undefined, { limit });
    }
    const end = this.at_++;
    return escaped || highest >= 0x80
      ? this.decode(this.bytes.subarray(start, end), escaped)
      : this.bytes.toString('latin1', start, end);
  }

  private decode(raw: Uint8Array, escaped: boolean): string {
    try {
      const text = decoder.decode(raw);
      if (!escaped) return text;
      const value = JSON.parse(`"${text}"`) as string;
      if (!/\p{Surrogate}/u.test(value)) return value;
    } catch {
      // reported below
    }
    return this.fail('holds a string that is not well-formed UTF-8 or has a wrong escape');
  }

  /** An array of at most `limit` unsigned integers below 2^53, written without sign, point or exponent. */
  integers(tensor: string, key: string, limit: number): number[] {
    const values: number[] = [];
    this.expect('[', tensor);
    for (let first = true; !this.take(']'); first = false) {
      if (!first) this.expect(',', tensor);
      values.push(this.integer(tensor, key));
      if (values.length > limit)
        this.fail(`tensor ${show(tensor)} has more than ${limit} numbers in ${key}`, tensor, { limit });
    }
    return values;
  }

  private integer(tensor: string, key: string): number {
    this.blank();
    const start = this.at_;
    while (this.at_ < this.bytes.length && !numberEnd.has(this.bytes[this.at_] as number) && this.at_ - start < 32)
      this.at_++;
    const text = this.bytes.toString('latin1', start, this.at_);
    const value = Number(text);
    if (/^(0|[1-9][0-9]*)$/.test(text) && value <= Number.MAX_SAFE_INTEGER) return value;
    return this.fail(
      `tensor ${show(tensor)} has ${show(text)} in ${key}, where a whole number from 0 to ${Number.MAX_SAFE_INTEGER} must stand`,
      tensor,
      { value: text, limit: Number.MAX_SAFE_INTEGER },
    );
  }

  /** Nothing but blanks may follow. */
  end(): void {
    this.blank();
    if (this.at_ !== this.bytes.length) this.fail(`has text behind its closing brace at byte ${8 + this.at_}`);
  }
}

const numberEnd: ReadonlySet<number> = new Set([...',] \n\r\t}:"'].map((c) => c.charCodeAt(0)));
