/**
 * JSON files of any size, read piece by piece: the values of the outermost object come one by one, and those of its long arrays
 * element by element. Annotation files of data sets hold hundreds of megabytes; parsed in one go they would block the event loop
 * for seconds and take several times their size.
 */
import { type ErrorCode, WordmaskError } from './errors.js';
import { guardDisk, openRegular } from './files.js';
import { parseJsonStrict } from './json.js';
import { Slices } from './slices.js';

export interface JsonStreamOptions {
  /** Arrays of the outermost object that come element by element. */
  readonly arrays: readonly string[];
  /** Other values that are wanted, whole; everything else is passed over unread. */
  readonly values?: readonly string[];
  readonly signal?: AbortSignal;
  /** Code of errors in the file's content (E_IMAGE_FORMAT). */
  readonly code?: ErrorCode;
}

/** A value of the outermost object, or an element of one of the long arrays. */
export interface JsonPiece {
  readonly key: string;
  readonly value: unknown;
  /** Place in the array; undefined for a whole value. */
  readonly index?: number;
}

const pieceBytes = 1 << 16;
/** A single value or element longer than this is no annotation. */
const mostValueBytes = 64 * 2 ** 20;
const [quote, backslash, comma, colon] = [0x22, 0x5c, 0x2c, 0x3a];
const isSpace = (byte: number): boolean => byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;

/** @throws E_DISK; `code` for anything that is not one JSON object, `signal.reason` on abort */
export async function* readJsonStream(path: string, options: JsonStreamOptions): AsyncGenerator<JsonPiece> {
  const splitter = new Splitter(path, options.arrays, options.values ?? [], options.code ?? 'E_IMAGE_FORMAT');
  const handle = await openRegular(path);
  try {
    const slices = new Slices(options.signal);
    const bytes = Buffer.allocUnsafe(pieceBytes);
    for (;;) {
      options.signal?.throwIfAborted();
      const { bytesRead } = await guardDisk('read', path, () => handle.read(bytes, 0, pieceBytes));
      if (bytesRead === 0) break;
      for (const piece of splitter.push(bytes.subarray(0, bytesRead))) {
        yield piece;
        if (slices.due) await slices.pause();
      }
      if (slices.due) await slices.pause();
    }
    splitter.end();
  } finally {
    await handle.close();
  }
}

/** Where the reading stands between two values. */
type Expect =
  | 'object'
  | 'key'
  | 'first-key'
  | 'colon'
  | 'value'
  | 'element'
  | 'first-element'
  | 'after-value'
  | 'after-element'
  | 'nothing';

class Splitter {
  #expect: Expect = 'object';
  /** Bytes of the value that is being collected, and how far inside it the reading is. */
  #parts: Buffer[] = [];
  #length = 0;
  #depth = 0;
  #string = false;
  #escaped = false;
  #collecting: 'key' | 'value' | 'element' | undefined;
  #key = '';
  #index = 0;
  #seen = new Set<string>();

  constructor(
    private readonly path: string,
    private readonly arrays: readonly string[],
    private readonly values: readonly string[],
    private readonly code: ErrorCode,
  ) {}

  *push(bytes: Buffer): Generator<JsonPiece> {
    let start = 0;
    for (let i = 0; i < bytes.length; i++) {
      const byte = bytes[i] as number;
      if (this.#collecting === undefined) {
        if (isSpace(byte)) continue;
        const opened = this.#between(byte);
        if (!opened) continue;
        start = i;
      }
      const state = this.#inside(byte);
      if (state === 'inside') continue;
      // A number or word ends before the byte that follows it, everything else with its own last byte.
      const piece = this.#finish(bytes.subarray(start, state === 'ends-before' ? i : i + 1));
      if (piece) yield piece;
      if (state === 'ends-before' && !isSpace(byte)) this.#between(byte);
    }
    if (this.#collecting !== undefined) this.#keep(Buffer.from(bytes.subarray(start)));
  }

  end(): void {
    if (this.#expect !== 'nothing') throw this.#bad('it ends too early (cut short?)');
  }

  /** A byte between values: punctuation moves on, anything else opens a key or value (true). */
  #between(byte: number): boolean {
    const open = (kind: 'key' | 'value' | 'element'): boolean => {
      this.#collecting = kind;
      return true;
    };
    switch (this.#expect) {
      case 'object':
        if (byte !== 0x7b) throw this.#bad('it does not begin with {');
        this.#expect = 'first-key';
        return false;
      case 'first-key':
      case 'key':
        if (byte === 0x7d && this.#expect === 'first-key') return this.#next('nothing');
        if (byte === quote) return open('key');
        break;
      case 'colon':
        if (byte === colon) return this.#next('value');
        break;
      case 'value':
        if (byte === 0x5b && this.arrays.includes(this.#key)) {
          this.#index = 0;
          return this.#next('first-element');
        }
        if (!isClosing(byte)) return open('value');
        break;
      case 'first-element':
      case 'element':
        if (byte === 0x5d && this.#expect === 'first-element') return this.#next('after-value');
        if (!isClosing(byte)) return open('element');
        break;
      case 'after-value':
        if (byte === comma) return this.#next('key');
        if (byte === 0x7d) return this.#next('nothing');
        break;
      case 'after-element':
        if (byte === comma) return this.#next('element');
        if (byte === 0x5d) return this.#next('after-value');
        break;
      default:
        break;
    }
    throw this.#bad(`${JSON.stringify(String.fromCharCode(byte))} where ${this.#expect.replace('-', ' ')} was due`);
  }

  #next(expect: Expect): false {
    this.#expect = expect;
    return false;
  }

  #inside(byte: number): 'inside' | 'ends-here' | 'ends-before' {
    if (this.#string) {
      if (this.#escaped) this.#escaped = false;
      else if (byte === backslash) this.#escaped = true;
      else if (byte === quote) {
        this.#string = false;
        if (this.#depth === 0) return 'ends-here';
      }
      return 'inside';
    }
    if (byte === quote) this.#string = true;
    else if (byte === 0x7b || byte === 0x5b) this.#depth++;
    else if (byte === 0x7d || byte === 0x5d) {
      if (this.#depth === 0) return 'ends-before';
      if (--this.#depth === 0) return 'ends-here';
    } else if (this.#depth === 0 && (byte === comma || isSpace(byte))) return 'ends-before';
    return 'inside';
  }

  get #passedOver(): boolean {
    return this.#collecting === 'value' && !this.values.includes(this.#key);
  }

  #keep(part: Buffer): void {
    if (this.#passedOver) return;
    this.#parts.push(part);
    this.#length += part.length;
    if (this.#length > mostValueBytes)
      throw this.#bad(`a value of ${this.#key} is longer than ${mostValueBytes} bytes`);
  }

  #finish(last: Buffer): JsonPiece | undefined {
    this.#keep(last);
    const kind = this.#collecting;
    if (this.#passedOver) {
      [this.#collecting, this.#expect] = [undefined, 'after-value'];
      return undefined;
    }
    const text = this.#parts.length === 1 ? last : Buffer.concat(this.#parts);
    const value = parseJsonStrict(text, { code: this.code, what: this.path });
    [this.#parts, this.#length, this.#collecting] = [[], 0, undefined];
    if (kind === 'key') {
      this.#key = value as string;
      if (this.#seen.has(this.#key)) throw this.#bad(`the key ${JSON.stringify(this.#key)} occurs twice`);
      this.#seen.add(this.#key);
      this.#expect = 'colon';
      return undefined;
    }
    this.#expect = kind === 'element' ? 'after-element' : 'after-value';
    return kind === 'element' ? { key: this.#key, value, index: this.#index++ } : { key: this.#key, value };
  }

  #bad(problem: string): WordmaskError {
    return new WordmaskError(this.code, `${this.path} is not JSON of the expected kind: ${problem}`, {
      details: { path: this.path },
    });
  }
}

function isClosing(byte: number): boolean {
  return byte === comma || byte === colon || byte === 0x5d || byte === 0x7d;
}
