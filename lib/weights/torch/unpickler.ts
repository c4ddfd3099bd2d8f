/**
 * Reads the pickle of a PyTorch checkpoint (protocols 2 to 5) as data. The opcodes that plain values, containers and records
 * of tensors are made of are understood; a call is looked up in the short list of `globals.ts`; everything else - other
 * names, other opcodes - ends the reading with E_PICKLE_FORBIDDEN that says what and where. Nothing is ever executed.
 */
import { WordmaskError } from '../../util/errors.js';
import { weightsError } from '../header-scanner.js';
import { allowedName, callName, storageOf } from './globals.js';
import { opcodeName } from './opcodes.js';
import { Dict, Inert, List, Name, type Pickled, Tuple } from './values.js';

export const pickleLimits = { bytes: 256 << 20, stack: 1 << 18, marks: 256, memo: 1 << 22, depth: 64 } as const;

/** How many opcodes are read between two chances for the event loop. */
const sliceOps = 1 << 14;

const advice =
  'no code of a file is ever run: use a file with safetensors, or save the state dictionary alone with the library that made it';

/** Reads to the end. Yields now and then, so that the caller can let the event loop turn. */
export function* unpickle(path: string, bytes: Buffer): Generator<void, Pickled> {
  const reader = new Unpickler(path, bytes);
  for (;;) {
    for (let k = 0; k < sliceOps; k++) if (reader.step()) return reader.result();
    yield;
  }
}

class Unpickler {
  #at = 0;
  #opAt = 0;
  readonly #stack: Pickled[] = [];
  /** Sizes of the stack where the open groups begin. */
  readonly #marks: number[] = [];
  readonly #memo = new Map<number, Pickled>();

  constructor(
    private readonly path: string,
    private readonly bytes: Buffer,
  ) {}

  result(): Pickled {
    if (this.#stack.length !== 1 || this.#marks.length > 0)
      this.#damaged(`ends with ${this.#stack.length} values in hand, must be 1`);
    return this.#stack[0] as Pickled;
  }

  /** One opcode; true at the end. */
  step(): boolean {
    this.#opAt = this.#at;
    const op = this.#byte();
    if (op === 0x2e) return true; // STOP
    if (!(this.#constant(op) || this.#container(op) || this.#reference(op)))
      this.#forbidden(`uses the opcode ${opcodeName(op)}, which no plain checkpoint needs`);
    return false;
  }

  /** Opcodes that push a value of their own. */
  #constant(op: number): boolean {
    switch (op) {
      case 0x80: // PROTO
        if (this.#byte() > 5) this.#damaged(`is of protocol ${this.bytes[this.#at - 1]}, known are 2 to 5`);
        return true;
      case 0x95: // FRAME: a length for buffered readers
        this.#skip(8);
        return true;
      case 0x4e: // NONE
        return this.#push(null);
      case 0x88: // NEWTRUE
      case 0x89: // NEWFALSE
        return this.#push(op === 0x88);
      case 0x4b: // BININT1
        return this.#push(this.#byte());
      case 0x4d: // BININT2
        return this.#push(this.bytes.readUInt16LE(this.#skip(2)));
      case 0x4a: // BININT
        return this.#push(this.bytes.readInt32LE(this.#skip(4)));
      case 0x8a: // LONG1
        return this.#push(this.#long(this.#byte()));
      case 0x47: // BINFLOAT
        return this.#push(this.bytes.readDoubleBE(this.#skip(8)));
      case 0x58: // BINUNICODE
        return this.#push(this.#text(this.#count(4)));
      case 0x8c: // SHORT_BINUNICODE
        return this.#push(this.#text(this.#byte()));
      case 0x8d: // BINUNICODE8
        return this.#push(this.#text(this.#count(8)));
      case 0x55: // SHORT_BINSTRING, of Python 2
        return this.#push(this.#text(this.#byte(), 'latin1'));
      case 0x54: // BINSTRING
        return this.#push(this.#text(this.#count(4), 'latin1'));
      case 0x43: // SHORT_BINBYTES
        return this.#push(this.#raw(this.#byte()));
      case 0x42: // BINBYTES
        return this.#push(this.#raw(this.#count(4)));
      case 0x8e: // BINBYTES8
        return this.#push(this.#raw(this.#count(8)));
      default:
        return false;
    }
  }

  /** Opcodes that build containers. */
  #container(op: number): boolean {
    switch (op) {
      case 0x7d: // EMPTY_DICT
        return this.#push(new Dict());
      case 0x5d: // EMPTY_LIST
        return this.#push(new List());
      case 0x29: // EMPTY_TUPLE
        return this.#push(new Tuple([]));
      case 0x8f: // EMPTY_SET
        return this.#push(new List());
      case 0x28: // MARK
        if (this.#marks.push(this.#stack.length) > pickleLimits.marks) this.#tooMuch('open groups', pickleLimits.marks);
        return true;
      case 0x74: // TUPLE
        return this.#push(new Tuple(this.#group()));
      case 0x85: // TUPLE1
      case 0x86:
      case 0x87:
        return this.#push(new Tuple(this.#take(op - 0x84)));
      case 0x61: // APPEND
        return this.#append(this.#take(1));
      case 0x65: // APPENDS
      case 0x90: // ADDITEMS
        return this.#append(this.#group());
      case 0x73: // SETITEM
        return this.#assign(this.#take(2));
      case 0x75: // SETITEMS
        return this.#assign(this.#group());
      default:
        return false;
    }
  }

  /** Opcodes that remember, name, call or refer. */
  #reference(op: number): boolean {
    switch (op) {
      case 0x71: // BINPUT
        return this.#remember(this.#byte());
      case 0x72: // LONG_BINPUT
        return this.#remember(this.#count(4));
      case 0x94: // MEMOIZE
        return this.#remember(this.#memo.size);
      case 0x68: // BINGET
        return this.#recall(this.#byte());
      case 0x6a: // LONG_BINGET
        return this.#recall(this.#count(4));
      case 0x63: // GLOBAL
        return this.#name(this.#line(), this.#line());
      case 0x93: {
        // STACK_GLOBAL
        const [module, name] = this.#take(2);
        if (typeof module !== 'string' || typeof name !== 'string')
          this.#forbidden('makes a name of what is no text (STACK_GLOBAL)');
        return this.#name(module as string, name as string);
      }
      case 0x52: // REDUCE
      case 0x81: {
        // NEWOBJ
        const [callable, args] = this.#take(2);
        return this.#push(this.#call(callable as Pickled, args as Pickled));
      }
      case 0x62: // BUILD: state of an object; that of an OrderedDict is a note of PyTorch's about versions
        this.#take(1);
        if (!(this.#top() instanceof Dict || this.#top() instanceof Inert))
          this.#forbidden('sets the state of what is no dictionary (BUILD)');
        return true;
      case 0x51: // BINPERSID
        return this.#push(
          storageOf(this.#take(1)[0] as Pickled, (reason) => this.#damaged(`holds ${reason} (BINPERSID)`)),
        );
      default:
        return false;
    }
  }

  #name(module: string, name: string): true {
    const text = `${module}.${name}`;
    if (!allowedName(text)) this.#forbidden(`asks for ${text.slice(0, 120)}`);
    return this.#push(new Name(text));
  }

  #call(callable: Pickled, args: Pickled): Pickled {
    if (!(callable instanceof Name)) return this.#forbidden('calls what is no name (REDUCE)');
    if (!(args instanceof Tuple)) return this.#damaged(`calls ${callable.text} with no tuple of arguments (REDUCE)`);
    return callName(callable, args, (reason) => this.#forbidden(`calls for ${reason} (REDUCE)`));
  }

  #append(items: readonly Pickled[]): true {
    const target = this.#top();
    if (target instanceof List) target.append(items);
    else if (!(target instanceof Inert)) this.#damaged('appends to what is no list');
    return this.#checkDepth(target);
  }

  #assign(items: readonly Pickled[]): true {
    const target = this.#top();
    if (items.length % 2 !== 0) this.#damaged('sets an item without a value');
    if (!(target instanceof Dict || target instanceof Inert)) this.#damaged('sets an item of what is no dictionary');
    if (target instanceof Dict)
      for (let k = 0; k < items.length; k += 2) target.set(items[k] as Pickled, items[k + 1] as Pickled);
    return this.#checkDepth(target);
  }

  #push(value: Pickled): true {
    if (this.#stack.push(value) > pickleLimits.stack) this.#tooMuch('values in hand', pickleLimits.stack);
    return this.#checkDepth(value);
  }

  #checkDepth(value: Pickled): true {
    if ((value instanceof Tuple || value instanceof List || value instanceof Dict) && value.depth > pickleLimits.depth)
      this.#tooMuch('levels of containers in each other', pickleLimits.depth);
    return true;
  }

  #top(): Pickled {
    if (this.#stack.length === 0 || this.#stack.length === this.#marks.at(-1)) this.#damaged('has no value in hand');
    return this.#stack.at(-1) as Pickled;
  }

  /** The last `count` values, none of them beyond an open group. */
  #take(count: number): Pickled[] {
    if (this.#stack.length - (this.#marks.at(-1) ?? 0) < count) this.#damaged('has too few values in hand');
    return this.#stack.splice(this.#stack.length - count);
  }

  /** The values since the last mark. */
  #group(): Pickled[] {
    const begin = this.#marks.pop();
    if (begin === undefined) return this.#damaged('closes a group that was never opened');
    return this.#stack.splice(begin);
  }

  #remember(index: number): true {
    this.#memo.set(index, this.#top());
    if (this.#memo.size > pickleLimits.memo) this.#tooMuch('remembered values', pickleLimits.memo);
    return true;
  }

  #recall(index: number): true {
    const value = this.#memo.get(index);
    if (value === undefined) this.#damaged(`refers to value ${index}, which it never remembered`);
    return this.#push(value as Pickled);
  }

  #long(length: number): number | bigint {
    const bytes = this.#raw(length);
    let value = 0n;
    for (let k = bytes.length - 1; k >= 0; k--) value = (value << 8n) | BigInt(bytes[k] as number);
    const signed = BigInt.asIntN(8 * Math.max(1, length), value);
    const narrow = Number(signed);
    return Number.isSafeInteger(narrow) ? narrow : signed;
  }

  #text(length: number, encoding: 'utf8' | 'latin1' = 'utf8'): string {
    const begin = this.#skip(length);
    return this.bytes.toString(encoding, begin, begin + length);
  }

  #raw(length: number): Uint8Array {
    const begin = this.#skip(length);
    return this.bytes.subarray(begin, begin + length);
  }

  #line(): string {
    const end = this.bytes.indexOf(0x0a, this.#at);
    if (end < 0 || end - this.#at > 1000) this.#damaged('names something without an end of line');
    return this.bytes.toString('utf8', this.#skip(end - this.#at + 1), end);
  }

  #count(width: 4 | 8): number {
    const at = this.#skip(width);
    return width === 4 ? this.bytes.readUInt32LE(at) : Number(this.bytes.readBigUInt64LE(at));
  }

  #byte(): number {
    return this.bytes[this.#skip(1)] as number;
  }

  /** Moves on; returns where it stood. */
  #skip(count: number): number {
    const at = this.#at;
    if (count > this.bytes.length - at)
      this.#damaged(`ends in the middle of ${opcodeName(this.bytes[this.#opAt] ?? 0)}`);
    this.#at += count;
    return at;
  }

  #where(): { details: Record<string, unknown>; text: string } {
    const opcode = opcodeName(this.bytes[this.#opAt] ?? 0);
    return {
      details: { file: this.path, offset: this.#opAt, opcode },
      text: `${this.path}: its pickle (byte ${this.#opAt}, ${opcode})`,
    };
  }

  #forbidden(reason: string): never {
    const { details, text } = this.#where();
    throw new WordmaskError('E_PICKLE_FORBIDDEN', `${text} ${reason}: ${advice}`, { details });
  }

  #damaged(reason: string): never {
    const { details } = this.#where();
    throw weightsError(
      this.path,
      `its pickle (byte ${this.#opAt}, ${details.opcode as string}) ${reason}: the file is damaged`,
      details,
    );
  }

  #tooMuch(what: string, limit: number): never {
    const { details } = this.#where();
    throw weightsError(
      this.path,
      `its pickle (byte ${this.#opAt}, ${details.opcode as string}) has more than ${limit} ${what}: this is no checkpoint`,
      { ...details, limit },
    );
  }
}
