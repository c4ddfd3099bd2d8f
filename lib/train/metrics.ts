/** `metrics.jsonl` of a run: one line a logged step, each written whole; a resumed run goes on where its checkpoint is. */
import { type FileHandle, open, stat } from 'node:fs/promises';
import { WordmaskError } from '../util/errors.js';
import { diskError, guardDisk, readFileLimited, writeFileAtomic } from '../util/files.js';

export interface MetricsRecord {
  readonly step: number;
  readonly epoch: number;
  /** Means over the steps since the last record. */
  readonly losses: Readonly<Record<string, number>>;
  /** Global norm of the gradients before clipping. */
  readonly norm: number;
  readonly rate: number;
  /** Steps so far whose loss or norm was not finite. */
  readonly skipped: number;
  /** Pairs that could not be used so far. */
  readonly unusable: number;
  readonly imagesPerSecond: number;
  readonly seconds: number;
  /** Bytes of tensors in use at their highest, and of the process. */
  readonly memory: { readonly tensors: number; readonly process: number };
  /** Figures of the model's own (`report`). */
  readonly values?: Readonly<Record<string, number>>;
  /** Figures of the model's own test, at steps that have one. */
  readonly eval?: Readonly<Record<string, number>>;
}

const sizeLimit = 1 << 30;
const mostPending = 10_000;

export class Metrics {
  #pending: string[] = [];
  #bytes: number;
  #failed = false;

  private constructor(
    readonly path: string,
    private readonly handle: FileHandle,
    bytes: number,
  ) {
    this.#bytes = bytes;
  }

  /** @param upTo keeps records of steps up to this one and drops the rest; 0 starts anew */
  static async open(path: string, upTo: number): Promise<Metrics> {
    const kept = upTo > 0 ? (await readMetrics(path)).filter(({ step }) => step <= upTo) : [];
    const text = kept.map((record) => `${JSON.stringify(record)}\n`).join('');
    await writeFileAtomic(path, text);
    return new Metrics(path, await guardDisk('write', path, () => open(path, 'r+')), Buffer.byteLength(text));
  }

  /**
   * Appends a record. A disk that is full is no reason to end a run: what cannot be written waits for the next record.
   * @returns a warning the first time in a row that it fails
   */
  async add(record: MetricsRecord): Promise<string | undefined> {
    this.#pending.push(`${JSON.stringify(record)}\n`);
    if (this.#pending.length > mostPending) this.#pending.shift();
    const bytes = Buffer.from(this.#pending.join(''));
    try {
      for (let at = 0; at < bytes.length; )
        at += (await this.handle.write(bytes, at, bytes.length - at, this.#bytes + at)).bytesWritten;
    } catch (cause) {
      const first = !this.#failed;
      this.#failed = true;
      await this.handle.truncate(this.#bytes).catch(() => undefined);
      return first ? diskError('write', this.path, cause).message : undefined;
    }
    this.#bytes += bytes.length;
    this.#pending = [];
    this.#failed = false;
    return undefined;
  }

  async close(): Promise<void> {
    await this.handle.close();
  }
}

/** Records of a file, a broken last line left out. A file that is not there has none. @throws E_CHECKPOINT for any other content */
export async function readMetrics(path: string): Promise<MetricsRecord[]> {
  if (!(await stat(path).catch(() => undefined))) return [];
  const text = (await readFileLimited(path, { limit: sizeLimit, code: 'E_CHECKPOINT' })).toString('utf8');
  const lines = text.split('\n');
  return lines.flatMap((line, at) => {
    if (line === '') return [];
    const record = parse(line);
    if (record) return [record];
    if (at === lines.length - 1) return [];
    throw new WordmaskError('E_CHECKPOINT', `${path}, line ${at + 1} is no record of a run: remove the file`, {
      details: { file: path },
    });
  });
}

function parse(line: string): MetricsRecord | undefined {
  try {
    const record = JSON.parse(line) as MetricsRecord | null;
    return Number.isSafeInteger(record?.step) && typeof record?.losses === 'object' ? (record ?? undefined) : undefined;
  } catch {
    return undefined;
  }
}
