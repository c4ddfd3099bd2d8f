/** Reports on disk. A file may have been edited: what its sums rest on is checked before it is used. */
import { show, WordmaskError } from '../util/errors.js';
import { readFileLimited, writeFileAtomic } from '../util/files.js';
import { parseJsonStrict } from '../util/json.js';
import { checkProtocol, protocolHash } from './protocol.js';
import { type EvalReport, reportFormat } from './report-types.js';

const sizeLimit = 512 << 20;

/** @throws E_USAGE for a file that is no report, E_HASH where the protocol is not the one that was hashed */
export async function readReport(path: string, signal?: AbortSignal): Promise<EvalReport> {
  const bytes = await readFileLimited(path, { limit: sizeLimit, signal, code: 'E_USAGE' });
  const value = parseJsonStrict(bytes, { code: 'E_USAGE', what: path }) as Partial<EvalReport> | null;
  const wrong = (text: string): WordmaskError =>
    new WordmaskError('E_USAGE', `${path} ${text}`, { details: { file: path } });
  if (typeof value !== 'object' || value?.format !== reportFormat)
    throw wrong(`is no report of wordmask eval: its format is ${show(value?.format)}, needs ${show(reportFormat)}`);
  const protocol = checkProtocol(value.protocol, `${path}: protocol`);
  if (protocolHash(protocol) !== value.protocolHash)
    throw new WordmaskError('E_HASH', `${path}: the protocol is not the one that was hashed: the file was changed`, {
      details: { file: path, expected: value.protocolHash },
    });
  const problem = problemOf(value);
  if (problem !== undefined) throw wrong(problem);
  return value as EvalReport;
}

/** What keeps the counts from being used. */
function problemOf({
  dataset,
  confusion,
  perClass,
  images,
  counts,
  run,
  metrics,
  provenance,
}: Partial<EvalReport>): string | undefined {
  const parts = { dataset, confusion, perClass, images, counts, run, metrics, provenance };
  const missing = Object.entries(parts).find(([, part]) => typeof part !== 'object' || part === null);
  if (missing) return `lacks ${show(missing[0])}`;
  const names = dataset?.classes;
  if (!Array.isArray(names) || names.length === 0 || names.length > 4096) return 'has no list of classes';
  const size = names.length * (names.length + 1);
  const { cells, counts: pixels } = confusion as EvalReport['confusion'];
  const whole = (list: unknown, below: number): boolean =>
    Array.isArray(list) && list.every((n) => Number.isSafeInteger(n) && n >= 0 && n < below);
  if (!whole(cells, size) || !whole(pixels, Number.MAX_SAFE_INTEGER) || cells.length !== pixels.length)
    return 'has a confusion matrix that does not fit its classes';
  if (
    !Array.isArray(perClass) ||
    perClass.length !== names.length ||
    !perClass.every((entry, c) => entry?.index === c && whole([entry.missedArea], Number.MAX_SAFE_INTEGER))
  )
    return `needs one entry a class in perClass, in order`;
  if (
    !Array.isArray(images) ||
    !images.every((image) => Number.isInteger(image?.index) && typeof image.id === 'string')
  )
    return 'has a list of images without places and ids';
  return Array.isArray(run?.timings) ? undefined : 'lacks the timings of its images';
}

/** One line a picture and a class would make large files: the report is written compactly. @throws E_DISK */
export function writeReport(path: string, report: EvalReport, signal?: AbortSignal): Promise<void> {
  return writeFileAtomic(path, `${JSON.stringify(report)}\n`, { signal, createFolder: true });
}
