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
import type { TrainedPart } from '../post/dense-system.js';
import { openDenseBackbone } from '../registry/backbones.js';
import type { ModelFolder } from '../registry/folder.js';
import { baseAdvice, type ResolvedModel, resolveModel } from '../registry/resolve.js';
import { type DenseSystemModule, findSystem, systemNames } from '../registry/systems.js';
import { parseBytes } from '../util/bytes.js';
import { show, WordmaskError } from '../util/errors.js';
import { sha256 } from '../util/files.js';
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
  /** For the output of a training beside a frozen model (MGCA): that model, where it is no longer at the place that the output names. */
  readonly base?: string;
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
        const { folder } = resolved;
        const module = findSystem(resolved.system ?? 'naclip');
        const built = await openParts(module, resolved, {
          compute: checked.compute,
          checkWeights: options.checkWeights ?? true,
          signal: options.signal,
        });
        if (options.signal?.aborted) {
          // Nobody will see this model.
          built.dispose();
          throw options.signal.reason;
        }
        const system = module.build(built.encoder, built.part);
        return new Model({
          ...built,
          module,
          system,
          fileOptions: fileOptions(folder.manifest, module.info.name),
          budget: checked.budget,
          info: {
            system: module.info.name,
            title: module.info.title,
            encoders: [(resolved.base ?? folder).modelType],
            sizes: built.sizes,
            tasks: module.info.tasks,
            separable: module.info.separable,
            licence: module.info.licence,
            hash: built.hash,
            device: checked.device,
            dtype: checked.compute === 'f32' ? 'fp32' : 'bf16',
            presets: Object.keys(module.presets),
            traces: [...traceNames, ...(system.inspection?.names ?? []), ...built.probeNames],
          },
        });
      }),
    ),
  );
}

type Built = Awaited<ReturnType<typeof openDenseBackbone>> & { readonly part?: TrainedPart };

/** The encoder, and what the system trained beside it. */
async function openParts(
  module: DenseSystemModule,
  { folder, base }: ResolvedModel,
  options: Parameters<typeof openDenseBackbone>[2],
): Promise<Built> {
  const { name } = module.info;
  if (!base !== !module.openPart)
    throw new WordmaskError(
      'E_MODEL_FORMAT',
      base
        ? `${folder.path} holds parts that ${folder.manifest.system ?? 'another system'} trained, which ${name} does not have: open ${base.path} with it`
        : `${folder.path} holds an encoder alone, ${name} needs what it trains beside one: name the output of wordmask train`,
      { details: { folder: folder.path, system: name } },
    );
  const built = await openDenseBackbone(base ?? folder, module.info, options);
  if (!base || !module.openPart) return built;
  try {
    checkBase(folder, base, built.hash);
    const part = await module.openPart(folder.weights, built.encoder, options);
    return {
      ...built,
      part,
      hash: sha256(`${built.hash}\n${part.hash}`),
      sizes: { ...built.sizes, parametersBytes: built.sizes.parametersBytes + part.bytes },
      dispose: () => {
        built.dispose();
        for (const tensor of part.tensors.values()) tensor.dispose();
      },
    };
  } catch (error) {
    built.dispose();
    throw error;
  }
}

/** @throws E_HASH when the frozen encoder is not the one that was trained with */
function checkBase(folder: ModelFolder, base: ModelFolder, hash: string): void {
  const expected = folder.manifest.base?.sha256;
  if (expected === undefined || expected === hash) return;
  throw new WordmaskError(
    'E_HASH',
    `${base.weights} has SHA-256 ${hash}; ${folder.path} was trained beside weights with ${expected}: restore those, or say where they are (${baseAdvice})`,
    { details: { file: base.weights, expected, found: hash } },
  );
}

/** What wordmask.json says about options, later parts over earlier ones. What was tuned was tuned for the system that it names. */
function fileOptions(
  { preprocessing, templates, defaults, tuning, system: named }: ModelFolder['manifest'],
  system: string,
): Record<string, unknown> {
  const tuned = named === undefined || named === system ? tuning : {};
  return { ...preprocessing, ...(templates !== undefined && { templates }), ...defaults, ...tuned };
}

/** What is free there; of the CPU inside a container less than on the machine. */
function availableBytes(device: string): number {
  return device === 'cpu' ? (process.availableMemory?.() ?? freemem()) : freeBytes(device);
}

function checkOptions(options: OpenOptions): { device: string; compute: 'f32' | 'bf16'; budget: number } {
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
    compute: given ?? defaultCompute(device),
    budget: wanted ?? Math.max(leastBudget, Math.floor(availableBytes(device) * 0.8)),
  };
}
