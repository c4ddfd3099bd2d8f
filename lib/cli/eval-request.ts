/** What the commands of the evaluation share: options to a data set and to a protocol. */
import type { DatasetOptions } from '../data/dataset.js';
import type { ProtocolRequest } from '../eval/index.js';
import { readFileLimited } from '../util/files.js';
import { parseJsonStrict } from '../util/json.js';
import type { Options } from './setup.js';

const protocolFileLimit = 512 << 20;

/** Options of `openDataset` that were given. */
export function datasetOptions(options: Options): DatasetOptions {
  const {
    root,
    split,
    imageFolder,
    truthFolder,
    classFile,
    listFile,
    imageSuffix,
    truthSuffix,
    ignore,
    reduceZeroLabel,
    partial,
  } = options;
  const all = { root, split, images: imageFolder, truth: truthFolder, classes: classFile, list: listFile };
  const more = { imageSuffix, truthSuffix, ignore, reduceZeroLabel, partial };
  return Object.fromEntries(Object.entries({ ...all, ...more }).filter(([, value]) => value !== undefined));
}

/** `--protocol` (a name, a JSON file, or JSON) with `--refine` and `--set`. @throws E_OPTION */
export async function protocolRequest(options: Options): Promise<ProtocolRequest | undefined> {
  const { protocol, refine, set } = options;
  const base = typeof protocol === 'string' ? await namedProtocol(protocol) : protocol;
  const changes = { ...(refine !== undefined && { refine }), ...(set !== undefined && { systemOptions: set }) };
  if (Object.keys(changes).length === 0) return base as ProtocolRequest | undefined;
  if (base === undefined || base === 'published') return changes as ProtocolRequest;
  const record = typeof base === 'string' ? { name: base } : (base as Record<string, unknown>);
  const systemOptions = { ...(record.systemOptions as object | undefined), ...(set as object | undefined) };
  return { ...record, ...changes, ...(Object.keys(systemOptions).length > 0 && { systemOptions }) } as ProtocolRequest;
}

/** A file may hold some keys, a whole record, or a report: then its record is repeated. */
async function namedProtocol(name: string): Promise<unknown> {
  if (!/[/\\]|\.json$/i.test(name)) return name;
  const bytes = await readFileLimited(name, { limit: protocolFileLimit, code: 'E_OPTION' });
  const value = parseJsonStrict(bytes, { code: 'E_OPTION', what: name });
  const { format, protocol } = (value ?? {}) as { format?: unknown; protocol?: unknown };
  return typeof format === 'string' && protocol !== undefined ? protocol : value;
}
