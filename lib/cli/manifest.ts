/**
 * `manifest.jsonl` of a batch run: one line an image, appended when its outputs are complete. A run that is killed leaves at
 * most a broken last line, which the next run drops.
 */
import { type FileHandle, open, readdir, stat, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { WordmaskError } from '../util/errors.js';
import { guardDisk, readFileLimited, sha256File, writeFileAtomic } from '../util/files.js';
import type { Job } from './names.js';

export interface OutputRecord {
  /** Below the manifest's folder. */
  readonly file: string;
  readonly format: string;
  readonly sha256: string;
  readonly bytes: number;
}

export interface ImageRecord {
  /** Path of the outputs below the manifest's folder, without extensions: one image's alone. */
  readonly name: string;
  readonly input: string;
  /** SHA-256 of the image file; null where it could not be read. */
  readonly sha256: string | null;
  readonly status: 'done' | 'failed';
  /** Error code of a failed image. */
  readonly code?: string;
  readonly message?: string;
  readonly width?: number;
  readonly height?: number;
  readonly outputs: readonly OutputRecord[];
  /** Milliseconds by stage. */
  readonly timings: Readonly<Record<string, number>>;
  readonly warnings?: readonly string[];
  /** Hash of model, vocabulary, options and formats: other settings are other results. */
  readonly settings: string;
}

const sizeLimit = 1 << 30;
const temporaryName = /^\.wordmask-[\w-]+\.tmp$/;

export class Manifest {
  readonly #records: ReadonlyMap<string, ImageRecord>;
  #handle: FileHandle | undefined;

  private constructor(
    readonly path: string,
    records: ReadonlyMap<string, ImageRecord>,
  ) {
    this.#records = records;
  }

  /**
   * Starts a manifest, or goes on with the one that is there. A broken last line is dropped; of several lines about one output the last counts.
   * @throws E_DISK; E_USAGE when the file is no manifest
   */
  static async open(path: string, resume: boolean): Promise<Manifest> {
    const records = resume ? await readRecords(path) : new Map<string, ImageRecord>();
    if (resume) await removeTemporaries(dirname(path));
    await writeFileAtomic(path, lines(records.values()), { createFolder: true });
    const manifest = new Manifest(path, records);
    manifest.#handle = await guardDisk('write', path, () => open(path, 'a'));
    return manifest;
  }

  /**
   * Whether an image needs no work: same settings, same image, and every output there with the hash it had.
   */
  async isDone(job: Job, settings: string, folder: string): Promise<boolean> {
    const record = this.#records.get(job.name);
    if (record?.status !== 'done' || record.settings !== settings || record.sha256 === null) return false;
    if (!job.outputs.every(({ format }) => record.outputs.some((output) => output.format === format))) return false;
    if ((await hashOf(job.input.path)) !== record.sha256) return false;
    for (const { file, bytes, sha256 } of record.outputs) {
      const path = join(folder, file);
      if ((await stat(path).catch(() => undefined))?.size !== bytes || (await hashOf(path)) !== sha256) return false;
    }
    return true;
  }

  /** Appends a line and waits until it is on disk. */
  async add(record: ImageRecord): Promise<void> {
    const handle = this.#handle;
    if (!handle) throw new WordmaskError('E_INTERNAL', 'the manifest is closed');
    await guardDisk('write', this.path, async () => {
      await handle.appendFile(lines([record]));
      await handle.datasync();
    });
  }

  async close(): Promise<void> {
    await this.#handle?.close();
    this.#handle = undefined;
  }
}

async function hashOf(path: string): Promise<string | undefined> {
  return sha256File(path).catch(() => undefined);
}

function lines(records: Iterable<ImageRecord>): string {
  return [...records].map((record) => `${JSON.stringify(record)}\n`).join('');
}

async function readRecords(path: string): Promise<Map<string, ImageRecord>> {
  const records = new Map<string, ImageRecord>();
  if (!(await stat(path).catch(() => undefined))) return records;
  const text = (await readFileLimited(path, { limit: sizeLimit, code: 'E_USAGE' })).toString('utf8');
  const all = text.split('\n');
  for (const [at, line] of all.entries()) {
    if (line === '') continue;
    const record = parseRecord(line);
    // Only the last line can have been cut by a kill.
    if (record) records.set(record.name, record);
    else if (at < all.length - 1)
      throw new WordmaskError(
        'E_USAGE',
        `${path}, line ${at + 1} is no record of a run: remove the file or choose another folder with -o`,
        { details: { path } },
      );
  }
  return records;
}

function parseRecord(line: string): ImageRecord | undefined {
  try {
    const record = JSON.parse(line) as Partial<ImageRecord> | null;
    const outputs = record?.outputs;
    const plain =
      Array.isArray(outputs) &&
      outputs.every((item) => typeof item?.file === 'string' && typeof item.sha256 === 'string');
    return plain && typeof record?.name === 'string' ? (record as ImageRecord) : undefined;
  } catch {
    return undefined;
  }
}

/** Half-written files of a killed run. */
async function removeTemporaries(folder: string): Promise<void> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
  for (const entry of entries)
    if (entry.isFile() && temporaryName.test(entry.name))
      await unlink(join(entry.parentPath, entry.name)).catch(() => undefined);
}
