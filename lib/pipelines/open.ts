/** Opening a model: name or folder -> weights on the device, ready to be asked. */
import { freemem } from 'node:os';
import {
  defaultCompute,
  freeBytes,
  isolated,
  onDevice,
  parseDType,
  resolveDevice,
  setThreads,
  withSignal,
} from '../engine/index.js';
import { resolveModel } from '../registry/resolve.js';
import { findSystem, isPredictor, systemFor, systemNames } from '../registry/systems.js';
import { parseBytes } from '../util/bytes.js';
import { show, WordmaskError } from '../util/errors.js';
import { nearest } from '../util/nearest.js';
import { Model } from './model.js';
import { type OpenParts, openDense, openPredictor } from './open-parts.js';

export interface OpenOptions {
  /** cpu, cuda, cuda:N or auto (default). */
  readonly device?: string;
  /** fp32, bf16 or auto (default: fp32 on the CPU, bf16 on CUDA). */
  readonly dtype?: string;
  /** Bytes that calls may take besides the weights: a number or text such as '4GiB'; default 80% of what is free. */
  readonly memory?: number | string;
  /** Threads of the CPU back end, process-wide. */
  readonly threads?: number;
  /** Hub cache; default that of the Hugging Face tools. */
  readonly cacheDir?: string;
  readonly offline?: boolean;
  /** Allow fetching a hub model that is not in the cache (default false). */
  readonly download?: boolean;
  readonly revision?: string;
  /** Look for NaN and infinity in the weights (default true). */
  readonly checkWeights?: boolean;
  readonly deterministic?: boolean;
  /** System of a model that names none. */
  readonly system?: string;
  /** For the output of a training beside a frozen model (MGCA): that model, where it is no longer at the place that the output names. */
  readonly base?: string;
  /** Further models that a system needs or can use, by role: names as the first argument takes them. */
  readonly encoders?: Readonly<Record<string, string>>;
  readonly onLog?: (message: string, level: 'info' | 'warning') => void;
  readonly onProgress?: (done: number, total: number) => void;
  readonly signal?: AbortSignal;
}

const known = [
  'device',
  'dtype',
  'memory',
  'threads',
  'cacheDir',
  'offline',
  'download',
  'revision',
  'checkWeights',
  'deterministic',
  'system',
  'base',
  'encoders',
  'onLog',
  'onProgress',
  'signal',
];

/** Smallest budget that is any use: one window group and a band of rows. */
const leastBudget = 64 << 20;

/**
 * Opens `SYSTEM:WEIGHTS`, a hub id whose files are in the cache, or a folder (path beginning with `.` or `/`).
 * @throws E_MODEL_ID, E_MODEL_NOT_FOUND, E_MODEL_FORMAT, E_WEIGHTS, E_WEIGHTS_VALUE, E_PICKLE_FORBIDDEN, E_TOKENIZER, E_DEVICE, E_OPTION
 */
export async function open(idOrFolder: string, options: OpenOptions = {}): Promise<Model> {
  const checked = checkOptions(options);
  options.signal?.throwIfAborted();
  return withSignal(options.signal, () =>
    onDevice(checked.device, () =>
      isolated(async () => {
        if (options.threads !== undefined) setThreads(options.threads);
        const resolved = await resolveModel(idOrFolder, { ...options, systems: systemNames() });
        const module =
          resolved.system === undefined ? systemFor(resolved.folder.modelType) : findSystem(resolved.system);
        const request: OpenParts = {
          resolved,
          ...checked,
          encoders: options.encoders ?? {},
          checkWeights: options.checkWeights ?? true,
          options,
        };
        const built = isPredictor(module) ? await openPredictor(module, request) : await openDense(module, request);
        if (options.signal?.aborted) {
          // Nobody will see this model.
          built.dispose();
          throw options.signal.reason;
        }
        return new Model(built);
      }),
    ),
  );
}

/** What is free there; of the CPU inside a container less than on the machine. */
function availableBytes(device: string): number {
  return device === 'cpu' ? (process.availableMemory?.() ?? freemem()) : freeBytes(device);
}

function checkOptions(options: OpenOptions): Pick<OpenParts, 'device' | 'dtype' | 'compute' | 'budget'> {
  if (typeof options !== 'object' || options === null)
    throw new WordmaskError('E_USAGE', `open: options must be an object, got ${show(options)}`);
  for (const key of Object.keys(options)) {
    if (known.includes(key)) continue;
    const guess = nearest(key, known);
    throw new WordmaskError(
      'E_OPTION',
      `open: unknown option ${show(key)}${guess ? `, did you mean '${guess}'?` : ''}`,
      { details: { option: key } },
    );
  }
  if (options.deterministic === false)
    throw new WordmaskError('E_OPTION', 'deterministic: false has no faster kernels; leave it out');
  const given = options.dtype === undefined || options.dtype === 'auto' ? undefined : parseDType(options.dtype);
  if (given !== undefined && given !== 'f32' && given !== 'bf16')
    throw new WordmaskError('E_OPTION', `dtype must be auto, fp32 or bf16, got ${show(options.dtype)}`, {
      details: { option: 'dtype', value: options.dtype },
    });
  const { encoders } = options;
  const named = (value: unknown): boolean => typeof value === 'string' && value !== '';
  if (
    encoders !== undefined &&
    !(typeof encoders === 'object' && encoders !== null && Object.values(encoders).every(named))
  )
    throw new WordmaskError(
      'E_OPTION',
      `encoders must be an object of model names by role, such as { clip: 'openai/clip-vit-base-patch16' }, got ${show(encoders)}`,
      { details: { option: 'encoders', value: encoders } },
    );
  const wanted = options.memory === undefined ? undefined : parseBytes('memory', options.memory);
  if (wanted !== undefined && wanted < leastBudget)
    throw new WordmaskError(
      'E_MEMORY_PLAN',
      `memory must be at least ${leastBudget} bytes to run anything, got ${show(options.memory)}`,
      { details: { value: wanted, limit: leastBudget } },
    );
  // Last: everything else is right when a device is opened for it.
  const { onLog } = options;
  const device = resolveDevice(options.device ?? 'auto', onLog && ((message) => onLog(message, 'warning')));
  return {
    device,
    dtype: given,
    compute: given ?? defaultCompute(device),
    budget: wanted ?? Math.max(leastBudget, Math.floor(availableBytes(device) * 0.8)),
  };
}
