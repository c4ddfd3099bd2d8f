/** From a resolved name to what a model is made of, by kind of system. */
import type { TrainedPart } from '../post/dense-system.js';
import { openDenseBackbone } from '../registry/backbones.js';
import type { ModelFolder } from '../registry/folder.js';
import { systemOpeners } from '../registry/openers.js';
import { baseAdvice, type ResolvedModel, resolveModel } from '../registry/resolve.js';
import { type DenseSystemModule, type PredictorSystemModule, systemNames } from '../registry/systems.js';
import { show, WordmaskError } from '../util/errors.js';
import { sha256 } from '../util/files.js';
import { nearest } from '../util/nearest.js';
import { DenseModel } from './dense-model.js';
import type { OpenOptions } from './open.js';
import type { ModelInfo } from './parts.js';
import { PredictorModel } from './predictor-model.js';
import { traceNames } from './trace.js';

export interface OpenParts {
  readonly resolved: ResolvedModel;
  readonly device: string;
  /** What the caller asked for; undefined for `auto`. */
  readonly dtype: 'f32' | 'bf16' | undefined;
  /** That, or the device's usual one. */
  readonly compute: 'f32' | 'bf16';
  readonly budget: number;
  readonly checkWeights: boolean;
  /** Names of further models by role. */
  readonly encoders: Readonly<Record<string, string>>;
  readonly options: OpenOptions;
}

export async function openDense(module: DenseSystemModule, request: OpenParts): Promise<DenseModel> {
  const { resolved, compute, checkWeights, encoders, options, budget } = request;
  const { folder, base } = resolved;
  refuseRoles(module.info.name, [], encoders);
  const built = await openEncoder(module, resolved, { compute, checkWeights, signal: options.signal });
  const system = module.build(built.encoder, built.part);
  return new DenseModel({
    ...built,
    module,
    system,
    fileOptions: fileOptions(folder.manifest, module.info.name),
    budget,
    info: infoOf(module, request, compute, {
      encoders: [(base ?? folder).modelType],
      sizes: built.sizes,
      hash: built.hash,
      traces: [...traceNames, ...(system.inspection?.names ?? []), ...built.probeNames],
    }),
  });
}

/** What every system says about itself, and what was found in the folder. */
function infoOf(
  { info, presets }: Pick<DenseSystemModule | PredictorSystemModule, 'info' | 'presets'>,
  { device }: OpenParts,
  compute: 'f32' | 'bf16',
  found: Pick<ModelInfo, 'encoders' | 'sizes' | 'hash' | 'traces'>,
): ModelInfo {
  return {
    system: info.name,
    title: info.title,
    encoders: found.encoders,
    sizes: found.sizes,
    tasks: info.tasks,
    separable: info.separable,
    licence: info.licence,
    hash: found.hash,
    device,
    dtype: compute === 'f32' ? 'fp32' : 'bf16',
    presets: Object.keys(presets),
    traces: found.traces,
  };
}

type Built = Awaited<ReturnType<typeof openDenseBackbone>> & { readonly part?: TrainedPart };

/** The encoder, and what the system trained beside it. */
async function openEncoder(
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

/**
 * A system that predicts by itself, with the models of its roles.
 * @throws E_MODEL_FORMAT when a folder's family is not among those of its role; E_OPTION for a dtype or role that it does not have
 */
export async function openPredictor(module: PredictorSystemModule, request: OpenParts): Promise<PredictorModel> {
  const { resolved, checkWeights, options, budget } = request;
  const { folder } = resolved;
  const { name } = module.info;
  if (resolved.base)
    throw new WordmaskError(
      'E_MODEL_FORMAT',
      `${folder.path} holds parts that ${folder.manifest.system ?? 'another system'} trained, which ${name} does not have: open ${resolved.base.path} with it`,
      { details: { folder: folder.path, system: name } },
    );
  const compute = dtypeOf(module, request);
  const folders = await roleFolders(module, request);
  const { signal } = options;
  const opened = await module.open({
    folders: { ...Object.fromEntries(folders), main: folder },
    openers: systemOpeners(folders, { compute, checkWeights, signal }),
    device: request.device,
    compute,
    checkWeights,
    signal,
  });
  return new PredictorModel({
    module,
    predictor: opened.predictor,
    atOnce: opened.atOnce ?? 1,
    // Preprocessing and templates are those of an encoder read by windows.
    fileOptions: ownFileOptions(folder.manifest, name),
    budget,
    info: infoOf(module, request, compute, {
      encoders: [...folders.values()].map(({ modelType }) => modelType),
      sizes: opened.sizes,
      hash: opened.hash,
      traces: opened.predictor.traces,
    }),
    dispose: () => opened.dispose(),
  });
}

function dtypeOf({ info, dtypes }: PredictorSystemModule, { dtype, compute }: OpenParts): 'f32' | 'bf16' {
  if (dtypes.includes(compute)) return compute;
  const [usual = 'f32'] = dtypes;
  if (dtype === undefined) return usual;
  throw new WordmaskError('E_OPTION', `dtype must be auto or fp32 for ${info.name}, got ${show(dtype)}`, {
    details: { option: 'dtype', value: dtype },
  });
}

async function roleFolders(
  module: PredictorSystemModule,
  { resolved, encoders, options }: OpenParts,
): Promise<Map<string, ModelFolder>> {
  const { info, roles } = module;
  refuseRoles(
    info.name,
    roles.map((role) => role.name),
    encoders,
  );
  const folders = new Map([['main', resolved.folder]]);
  checkFamily(info.name, resolved.folder, info.backbones);
  const { system: _, base: __, ...rest } = options;
  for (const { name, backbones, optional } of roles) {
    const model = encoders[name];
    if (model === undefined && optional) continue;
    if (model === undefined)
      throw new WordmaskError(
        'E_OPTION',
        `${info.name} needs a further model, '${name}' (${backbones.join(', ')}): name it, open(model, { encoders: { ${name}: './folder' } })`,
        { details: { option: 'encoders', role: name } },
      );
    const { folder } = await resolveModel(model, { ...rest, systems: systemNames() });
    checkFamily(`${info.name}'s '${name}'`, folder, backbones);
    folders.set(name, folder);
  }
  return folders;
}

function checkFamily(what: string, folder: ModelFolder, backbones: readonly string[]): void {
  if (backbones.includes(folder.modelType)) return;
  throw new WordmaskError(
    'E_MODEL_FORMAT',
    `${folder.path}: model_type ${show(folder.modelType)} does not fit the system ${what}, which runs on ${backbones.join(', ')}`,
    { details: { folder: folder.path } },
  );
}

function refuseRoles(system: string, roles: readonly string[], encoders: Readonly<Record<string, string>>): void {
  for (const role of Object.keys(encoders)) {
    if (roles.includes(role)) continue;
    const guess = nearest(role, roles);
    throw new WordmaskError(
      'E_OPTION',
      `encoders: ${system} has no role ${show(role)}${guess ? `; did you mean '${guess}'?` : ''} (known: ${roles.join(', ') || 'none'})`,
      { details: { option: 'encoders', role } },
    );
  }
}

/** What wordmask.json says about options, later parts over earlier ones. What was tuned was tuned for the system that it names. */
function fileOptions(
  { preprocessing, templates, defaults, tuning, system: named }: ModelFolder['manifest'],
  system: string,
): Record<string, unknown> {
  const tuned = named === undefined || named === system ? tuning : {};
  return { ...preprocessing, ...(templates !== undefined && { templates }), ...defaults, ...tuned };
}

/** Of a system that predicts by itself: what the folder says for another system's options is none of its own. */
function ownFileOptions(manifest: ModelFolder['manifest'], system: string): Record<string, unknown> {
  if (manifest.system !== undefined && manifest.system !== system) return {};
  return fileOptions({ ...manifest, preprocessing: undefined, templates: undefined }, system);
}
