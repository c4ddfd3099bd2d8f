/** Opening a model: name or folder -> weights on the device, ready to be asked. */
import { freemem } from 'node:os';
import { isolated, parseDevice, parseDType, requireCpu, setThreads, withSignal } from '../engine/index.js';
import { openDenseBackbone } from '../registry/backbones.js';
import { resolveModel } from '../registry/resolve.js';
import { findSystem, systemNames } from '../registry/systems.js';
import { parseBytes } from '../util/bytes.js';
import { show, WordmaskError } from '../util/errors.js';
import { nearest } from '../util/nearest.js';
import { Model } from './model.js';
import { traceNames } from './trace.js';

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
    isolated(async () => {
      if (options.threads !== undefined) setThreads(options.threads);
      const { folder, system } = await resolveModel(idOrFolder, { ...options, systems: systemNames() });
      const module = findSystem(system ?? 'naclip');
      const built = await openDenseBackbone(folder, module.info, {
        compute: checked.compute,
        checkWeights: options.checkWeights ?? true,
        signal: options.signal,
      });
      if (options.signal?.aborted) {
        // Nobody will see this model.
        built.dispose();
        throw options.signal.reason;
      }
      return new Model({
        ...built,
        module,
        system: module.build(built.encoder),
        fileOptions: fileOptions(folder.manifest),
        budget: checked.budget,
        info: {
          system: module.info.name,
          title: module.info.title,
          encoders: [folder.modelType],
          sizes: built.sizes,
          tasks: module.info.tasks,
          separable: module.info.separable,
          licence: module.info.licence,
          hash: built.hash,
          device: 'cpu',
          dtype: checked.compute === 'f32' ? 'fp32' : 'bf16',
          presets: Object.keys(module.presets),
          traces: [...traceNames, ...built.probeNames],
        },
      });
    }),
  );
}

/** What wordmask.json says about options, later parts over earlier ones. */
function fileOptions({
  preprocessing,
  templates,
  defaults,
  tuning,
}: {
  preprocessing?: object;
  templates?: unknown;
  defaults?: object;
  tuning?: object;
}): Record<string, unknown> {
  return { ...preprocessing, ...(templates !== undefined && { templates }), ...defaults, ...tuning };
}

/** What is free here: inside a container less than on the machine. */
function availableBytes(): number {
  return process.availableMemory?.() ?? freemem();
}

function checkOptions(options: OpenOptions): { compute: 'f32' | 'bf16'; budget: number } {
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
  requireCpu(parseDevice(options.device ?? 'auto'));
  if (options.deterministic === false)
    throw new WordmaskError('E_OPTION', 'deterministic: false has no faster kernels on the CPU; leave it out');
  const dtype = options.dtype === undefined || options.dtype === 'auto' ? 'f32' : parseDType(options.dtype);
  if (dtype !== 'f32' && dtype !== 'bf16')
    throw new WordmaskError('E_OPTION', `dtype must be auto, fp32 or bf16 on the CPU, got ${show(options.dtype)}`, {
      details: { option: 'dtype', value: options.dtype },
    });
  const budget =
    options.memory === undefined
      ? Math.max(leastBudget, Math.floor(availableBytes() * 0.8))
      : parseBytes('memory', options.memory);
  if (budget < leastBudget)
    throw new WordmaskError(
      'E_MEMORY_PLAN',
      `memory must be at least ${leastBudget} bytes to run anything, got ${show(options.memory ?? budget)}`,
      { details: { value: budget, limit: leastBudget } },
    );
  return { compute: dtype, budget };
}
