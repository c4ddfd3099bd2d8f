/**
 * The journal of an evaluation: a line a picture, appended as it is through. A run that is killed leaves at most a broken last
 * line, which the next run drops; what is in the journal is not computed again.
 */
import { createReadStream } from 'node:fs';
import { type FileHandle, open, stat, truncate } from 'node:fs/promises';
import { WordmaskError } from '../util/errors.js';
import { diskError, errnoOf, guardDisk, writeFileAtomic } from '../util/files.js';
import type { PictureRecord } from './picture.js';

const format = 'wordmask-eval-journal/1';
const lineLimit = 256 << 20;

export class Journal {
  #handle: FileHandle | undefined;
  #last: Promise<void> = Promise.resolve();

  private constructor(
    readonly path: string,
    handle: FileHandle,
    /** Where the first record begins; 0 for a journal that is begun anew. */
    private readonly begin: number,
  ) {
    this.#handle = handle;
  }

  /**
   * @param settings hash of all that shapes a record: a journal of another run is refused
   * @param resume whether to go on with what is there; otherwise it is begun anew
   * @throws E_USAGE for a journal of other settings; E_DISK
   */
  static async open(path: string, settings: string, resume: boolean): Promise<Journal> {
    const begin = resume ? await headerEnd(path, settings) : 0;
    if (begin === 0) await writeFileAtomic(path, `${JSON.stringify({ format, settings })}\n`);
    return new Journal(path, await guardDisk('write', path, () => open(path, 'a')), begin);
  }

  /**
   * What was done before, one after another; a last line that a kill has cut is removed. To be read before anything is added.
   * @throws E_USAGE for a line in the middle that is no record
   */
  async *records(signal?: AbortSignal): AsyncGenerator<PictureRecord> {
    if (this.begin === 0) return;
    let at = this.begin;
    let number = 1;
    let broken: number | undefined;
    for await (const line of linesOf(this.path, this.begin, signal)) {
      number++;
      if (broken !== undefined)
        throw new WordmaskError(
          'E_USAGE',
          `${this.path}, line ${broken} is no record of an evaluation: run without resume`,
          { details: { path: this.path } },
        );
      const record = line.whole ? parse(line.text) : undefined;
      if (isRecord(record)) yield record;
      else broken = number;
      if (broken === undefined) at += line.bytes;
    }
    if (broken !== undefined) await guardDisk('write', this.path, () => truncate(this.path, at));
  }

  /** Appends a line; lines are written one after another. @throws E_DISK */
  add(record: PictureRecord): Promise<void> {
    const line = `${JSON.stringify(record)}\n`;
    this.#last = this.#last.then(() =>
      guardDisk('write', this.path, async () => void (await this.#handle?.appendFile(line))),
    );
    return this.#last;
  }

  async close(): Promise<void> {
    await this.#last.catch(() => undefined);
    await this.#handle?.close();
    this.#handle = undefined;
  }
}

/** Bytes of the first line of a journal with these settings; 0 where there is none yet. @throws E_USAGE for another */
async function headerEnd(path: string, settings: string): Promise<number> {
  const found = await stat(path).catch(() => undefined);
  if (!found) return 0;
  for await (const { text, bytes, whole } of linesOf(path, 0)) {
    // Killed before its first line was whole.
    if (!whole) return 0;
    const head = parse(text) as { format?: unknown; settings?: unknown } | undefined;
    if (head?.format === format && head.settings === settings) return bytes;
    throw new WordmaskError(
      'E_USAGE',
      `${path} belongs to an evaluation with other settings (model, protocol, data set, limit or shard): run without resume to begin anew, or write to another file`,
      { details: { path } },
    );
  }
  return 0;
}

interface Line {
  readonly text: string;
  readonly bytes: number;
  /** It ends with a line break. */
  readonly whole: boolean;
}

/** Lines of a file that may be larger than memory. @throws E_DISK, E_USAGE for a line that is too long */
async function* linesOf(path: string, start: number, signal?: AbortSignal): AsyncGenerator<Line> {
  let parts: Buffer[] = [];
  let bytes = 0;
  const take = (whole: boolean): Line => {
    const line = { text: Buffer.concat(parts).toString('utf8'), bytes: bytes + Number(whole), whole };
    parts = [];
    bytes = 0;
    return line;
  };
  try {
    for await (const chunk of createReadStream(path, { start, ...(signal && { signal }) }) as AsyncIterable<Buffer>) {
      let from = 0;
      for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, from)) {
        parts.push(chunk.subarray(from, end));
        bytes += end - from;
        from = end + 1;
        yield take(true);
      }
      parts.push(chunk.subarray(from));
      bytes += chunk.length - from;
      if (bytes > lineLimit)
        throw new WordmaskError('E_USAGE', `${path} has a line of more than ${lineLimit} bytes: it is no journal`);
    }
  } catch (error) {
    signal?.throwIfAborted();
    throw errnoOf(error) === undefined ? error : diskError('read', path, error);
  }
  if (bytes > 0) yield take(false);
}

function isRecord(value: unknown): value is PictureRecord {
  if (typeof value !== 'object' || value === null) return false;
  const { index, id, status, cells, counts, timings } = value as PictureRecord;
  const whole = (list: unknown): boolean => Array.isArray(list) && list.every((n) => Number.isSafeInteger(n) && n >= 0);
  return (
    Number.isInteger(index) &&
    typeof id === 'string' &&
    (status === 'done' || status === 'failed') &&
    whole(cells) &&
    whole(counts) &&
    cells.length === counts.length &&
    typeof timings === 'object'
  );
}

function parse(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}
