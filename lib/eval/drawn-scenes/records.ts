/**
 * Measured records of the table: one JSON object a line, one line for a case. What a record was measured with stands in it, so
 * that the page is only a view of the file.
 */
import { z } from 'zod';
import { show, WordmaskError } from '../../util/errors.js';
import { errnoOf, readFileLimited, writeFileAtomic } from '../../util/files.js';
import { parseJsonStrict } from '../../util/json.js';

const model = z.strictObject({
  /** What the user called it. */
  name: z.string(),
  system: z.string(),
  /** SHA-256 of the weights. */
  hash: z.string(),
  dtype: z.string(),
});

const schema = z.strictObject({
  format: z.literal('wordmask-drawn-scenes/1'),
  row: z.int().min(1).max(99),
  /** Unique in its row. */
  case: z.string().min(1).max(200),
  model: model.optional(),
  scenes: z.strictObject({
    split: z.string(),
    first: z.number(),
    count: z.number(),
    width: z.number(),
    height: z.number(),
  }),
  options: z.record(z.string(), z.json()),
  /** Fractions of 1 where they are shares; NaN is stored as null. */
  figures: z.record(z.string(), z.union([z.number(), z.null()])),
  command: z.string(),
  /** Of the source tree, with a + where it had changes; null outside of one. */
  commit: z.union([z.string(), z.null()]),
  wordmask: z.string(),
  machine: z.string(),
  seconds: z.number(),
});

export type TableRecord = z.infer<typeof schema>;

const fileLimit = 64 << 20;

/** Records of a file, none where it is not there. @throws E_USAGE naming the line that is no record */
export async function readRecords(file: string): Promise<TableRecord[]> {
  let bytes: Buffer;
  try {
    bytes = await readFileLimited(file, { limit: fileLimit, code: 'E_USAGE' });
  } catch (error) {
    if (errnoOf((error as Error).cause) === 'ENOENT') return [];
    throw error;
  }
  const lines = bytes.toString('utf8').split('\n');
  return lines.flatMap((line, i) => {
    if (line.trim() === '') return [];
    const what = `${file} line ${i + 1}`;
    const parsed = schema.safeParse(parseJsonStrict(line, { code: 'E_USAGE', what }));
    if (parsed.success) return [parsed.data];
    const issue = parsed.error.issues[0];
    throw new WordmaskError(
      'E_USAGE',
      `${what} is no record of this table: ${issue?.path.join('.')} ${issue?.message}`,
    );
  });
}

/** The records with one more; it takes the place of that of the same row and case. Sorted by row, cases in the order they came. */
export function withRecord(records: readonly TableRecord[], added: TableRecord): TableRecord[] {
  const same = (other: TableRecord): boolean => other.row === added.row && other.case === added.case;
  const known = records.some(same);
  const next = known ? records.map((other) => (same(other) ? added : other)) : [...records, added];
  return next.toSorted((a, b) => a.row - b.row);
}

/** @throws E_DISK */
export async function writeRecords(file: string, records: readonly TableRecord[]): Promise<void> {
  const lines = records.map((record) => `${JSON.stringify(record)}\n`);
  await writeFileAtomic(file, lines.join(''), { createFolder: true });
}

/** Looks a figure up. */
export class RecordView {
  constructor(readonly all: readonly TableRecord[]) {}

  row(row: number): TableRecord[] {
    return this.all.filter((record) => record.row === row);
  }

  find(row: number, name: string): TableRecord | undefined {
    return this.all.find((record) => record.row === row && record.case === name);
  }

  /** undefined where it was not measured or is no number. */
  figure(row: number, name: string, figure: string): number | undefined {
    const value = this.find(row, name)?.figures[figure];
    return value === null ? undefined : value;
  }
}

/** @throws E_INTERNAL: a figure that no record can hold */
export function figuresOf(values: Readonly<Record<string, number>>): TableRecord['figures'] {
  return Object.fromEntries(
    Object.entries(values).map(([name, value]) => {
      if (typeof value !== 'number') throw new WordmaskError('E_INTERNAL', `figure ${name} is ${show(value)}`);
      return [name, Number.isFinite(value) ? Math.round(value * 1e6) / 1e6 : null];
    }),
  );
}
