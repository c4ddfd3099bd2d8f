/**
 * The journal of an evaluation: a line a picture, appended as it is through. A run that is killed leaves at most a broken last
 * line, which the next run drops; what is in the journal is not computed again.
 */
import { type FileHandle, open, unlink } from 'node:fs/promises';
import { WordmaskError } from '../util/errors.js';
import { guardDisk, readFileLimited, writeFileAtomic } from '../util/files.js';
import type { PictureRecord } from './picture.js';

const format = 'wordmask-eval-journal/1';
const sizeLimit = 2 ** 30;

export class Journal {
  /** By place in the data set: pictures that are done. */
  readonly records: ReadonlyMap<number, PictureRecord>;
  #handle: FileHandle | undefined;
  #last: Promise<void> = Promise.resolve();

  private constructor(
    readonly path: string,
    records: ReadonlyMap<number, PictureRecord>,
    handle: FileHandle,
  ) {
    this.records = records;
    this.#handle = handle;
  }

  /**
   * @param settings hash of all that shapes a record: a journal of another run is refused
   * @param resume whether to go on with what is there; otherwise it is begun anew
   * @throws E_USAGE for a journal of other settings or a broken line in its middle; E_DISK
   */
  static async open(path: string, settings: string, resume: boolean, signal?: AbortSignal): Promise<Journal> {
    const records = resume ? await readJournal(path, settings, signal) : new Map<number, PictureRecord>();
    const lines = [{ format, settings }, ...records.values()].map((line) => `${JSON.stringify(line)}\n`);
    await writeFileAtomic(path, lines.join(''));
    return new Journal(path, records, await guardDisk('write', path, () => open(path, 'a')));
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

  /** The report is written: the journal has done its work. */
  async remove(): Promise<void> {
    await this.close();
    await unlink(this.path).catch(() => undefined);
  }
}

async function readJournal(path: string, settings: string, signal?: AbortSignal): Promise<Map<number, PictureRecord>> {
  const records = new Map<number, PictureRecord>();
  let text: string;
  try {
    text = (await readFileLimited(path, { limit: sizeLimit, signal })).toString('utf8');
  } catch (error) {
    if (error instanceof WordmaskError && error.details.errno === 'ENOENT') return records;
    throw error;
  }
  const lines = text.split('\n');
  const head = parse(lines[0] ?? '') as { format?: unknown; settings?: unknown } | undefined;
  // Killed before its first line was whole.
  if (head === undefined && lines.length <= 1) return records;
  if (head?.format !== format || head.settings !== settings)
    throw new WordmaskError(
      'E_USAGE',
      `${path} belongs to an evaluation with other settings (model, protocol, data set, limit or shard): run without resume to begin anew, or write to another file`,
      { details: { path } },
    );
  for (const [at, line] of lines.slice(1).entries()) {
    if (line === '') continue;
    const record = parse(line) as PictureRecord | undefined;
    // Only the last line can have been cut by a kill.
    if (record === undefined && at < lines.length - 2)
      throw new WordmaskError('E_USAGE', `${path}, line ${at + 2} is no record of an evaluation: run without resume`, {
        details: { path },
      });
    if (record?.status === 'done' && isRecord(record)) records.set(record.index, record);
  }
  return records;
}

function isRecord({ index, id, cells, counts, timings }: PictureRecord): boolean {
  const whole = (list: unknown): boolean => Array.isArray(list) && list.every((n) => Number.isSafeInteger(n) && n >= 0);
  return (
    Number.isInteger(index) &&
    typeof id === 'string' &&
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
