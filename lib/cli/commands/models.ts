/** `wordmask models list|pull|verify|info|rm`. */
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import type { FileCheck, ModelFolder } from '../../registry/folder.js';
import { formatBytes } from '../../util/bytes.js';
import { WordmaskError } from '../../util/errors.js';
import type { WeightSet } from '../../weights/index.js';
import { exit } from '../exit-codes.js';
import { count, type Output, table } from '../output.js';
import { Progress } from '../progress.js';
import type { Context } from '../run.js';
import { type Options, textOption } from '../setup.js';

export async function modelsList({ options, output }: Context): Promise<number> {
  const { hubCacheFolder, listCachedModels } = await import('../../registry/hub-cache.js');
  const cache = resolve(textOption(options, 'cacheDir') ?? hubCacheFolder());
  const models = await listCachedModels(cache);
  const { modelNames } = await import('../../registry/builtin.js');
  const builtIn = [...modelNames.keys()];
  if (output.json) {
    output.value({ cache, models, builtIn });
    return exit.done;
  }
  const rows = models.flatMap(({ id, snapshots }) =>
    snapshots.map(({ commit, refs, bytes }) => [id, refs.join(', '), commit.slice(0, 12), formatBytes(bytes)]),
  );
  for (const line of table(rows, [3])) output.line(line);
  output.note(
    rows.length === 0
      ? `no models in ${cache}; fetch one with: wordmask models pull openai/clip-vit-base-patch16`
      : cache,
  );
  output.note(`built in: ${builtIn.join(', ')}`);
  return exit.done;
}

export async function modelsPull({ args, options, output, interrupt }: Context): Promise<number> {
  const { pullModel } = await import('../../registry/pull.js');
  let progress: Progress | undefined;
  const pulled = await pullModel(args[0] as string, {
    revision: textOption(options, 'revision'),
    cacheDir: textOption(options, 'cacheDir'),
    signal: interrupt.signal,
    onProgress: ({ file, done, total }) => {
      progress ??= new Progress(output, Math.max(1, Math.round(total / 2 ** 20)), 'MiB');
      progress.update(Math.round(done / 2 ** 20), file);
    },
  }).finally(() => progress?.end());
  const { id, commit, folder, files, fetched } = pulled;
  if (output.json) output.value({ id, commit, folder, fetched, files });
  else {
    output.line(folder);
    output.note(`${id}@${commit}: ${files.length} files, ${formatBytes(fetched)} fetched`);
  }
  return exit.done;
}

/** A folder by its path, or a model of the cache by its id. */
async function locate(name: string, options: Options, signal: AbortSignal): Promise<ModelFolder> {
  const { findModel } = await import('../../registry/models.js');
  const isPath = /^[./]/.test(name) || existsSync(name);
  if (isPath) return findModel({ kind: 'path', path: name }, { signal });
  const { builtinModel, modelNames } = await import('../../registry/builtin.js');
  if (modelNames.get(name) === null) return builtinModel(name, signal);
  const { parseHubId } = await import('../../registry/names.js');
  const place = { cacheDir: textOption(options, 'cacheDir'), revision: textOption(options, 'revision'), signal };
  return findModel({ kind: 'hub', ...parseHubId(name) }, place);
}

export async function modelsVerify({ args, options, output, interrupt }: Context): Promise<number> {
  const { assertVerified, verifyFolder } = await import('../../registry/folder.js');
  const { openWeights } = await import('../../weights/index.js');
  const { signal } = interrupt;
  const model = await locate(args[0] as string, options, signal);
  const progress = new Progress(output, 100, 'percent');
  const checks = await verifyFolder(model.path, {
    signal,
    onProgress: (file, done, total) => progress.update(Math.floor((100 * done) / Math.max(1, total)), file),
  }).finally(() => progress.end());
  for (const line of output.plain ? checkLines(checks) : []) output.line(line);
  assertVerified(model.path, checks);
  const weights = await openWeights(model.weights, { signal });
  try {
    await checkValues(weights, signal, output);
    const { tensors, bytes } = weights;
    if (output.json) output.value({ folder: model.path, files: checks, tensors: tensors.size, bytes, finite: true });
    else output.line(`${tensors.size} tensors, ${formatBytes(bytes)}: all values finite`);
  } finally {
    await weights.close();
  }
  const unknown = checks.filter(({ status }) => status === 'unknown').length;
  if (unknown > 0) output.note(`${count(unknown, 'file')} without a recorded hash: the content was not compared`);
  return exit.done;
}

/** Tensor by tensor, so that no more than one is in memory. @throws E_WEIGHTS_VALUE */
async function checkValues(weights: WeightSet, signal: AbortSignal, output: Output): Promise<void> {
  const { checkFinite, loadTensors } = await import('../../weights/index.js');
  const progress = new Progress(output, weights.tensors.size, 'tensors');
  for (const [name, { file, entry }] of weights.tensors) {
    signal.throwIfAborted();
    const plan = { source: name, part: 0, parts: 1, transpose: false, shape: entry.shape };
    const tensors = await loadTensors(weights, new Map([[name, plan]]));
    try {
      await checkFinite(file.path, tensors);
    } finally {
      for (const tensor of tensors.values()) tensor.dispose();
    }
    progress.step(name);
  }
  progress.end();
}

function checkLines(checks: readonly FileCheck[]): string[] {
  return table(
    checks.map(({ file, status, bytes }) => [status, bytes === undefined ? '' : formatBytes(bytes), file]),
    [1],
  );
}

export async function modelsInfo({ args, options, output, interrupt }: Context): Promise<number> {
  const { findSystem, systemNames } = await import('../../registry/systems.js');
  const { openWeights } = await import('../../weights/index.js');
  const model = await locate(args[0] as string, options, interrupt.signal);
  const system = textOption(options, 'system') ?? model.manifest.system;
  const fitting = systemNames().filter((name) => findSystem(name).info.backbones.includes(model.modelType));
  const chosen = system === undefined ? undefined : findSystem(system);
  const weights = await openWeights(model.weights, { signal: interrupt.signal });
  await weights.close();
  const info = {
    folder: model.path,
    modelType: model.modelType,
    system: system ?? null,
    fittingSystems: fitting,
    weights: { file: model.weights, tensors: weights.tensors.size, bytes: weights.bytes },
    licence: model.manifest.licence ?? chosen?.info.licence ?? null,
    source: model.manifest.source ?? null,
    manifest: model.manifest,
    config: model.config,
  };
  if (output.json) {
    output.value(info);
    return exit.done;
  }
  const lines = [
    ['folder', info.folder],
    ['encoder', info.modelType],
    ['system', system ?? `none named; fitting: ${fitting.join(', ') || 'none'}`],
    ['weights', `${info.weights.tensors} tensors, ${formatBytes(info.weights.bytes)}`],
    ['file', info.weights.file],
    ['sizes', sizesOf(model.config)],
    ['licence', info.licence === null ? 'not stated' : JSON.stringify(info.licence)],
  ];
  if (chosen)
    lines.push(
      ['paper', `${chosen.info.title}, ${chosen.info.paper}`],
      ['presets', Object.keys(chosen.presets).join(', ')],
    );
  for (const line of table(lines)) output.line(line);
  return exit.done;
}

/** The numbers of a CLIP-like config.json that people ask for. */
function sizesOf(config: Record<string, unknown>): string {
  const vision = (config.vision_config ?? {}) as Record<string, unknown>;
  const parts = [
    ['patch', 'patch_size'],
    ['image', 'image_size'],
    ['width', 'hidden_size'],
    ['layers', 'num_hidden_layers'],
  ] as const;
  return (
    parts.flatMap(([word, key]) => (vision[key] === undefined ? [] : [`${word} ${String(vision[key])}`])).join(', ') ||
    'see config.json'
  );
}

export async function modelsRemove({ args, options, output }: Context): Promise<number> {
  const { hubCacheFolder, removeCachedModel } = await import('../../registry/hub-cache.js');
  const id = args[0] as string;
  if (/^[./]/.test(id))
    throw new WordmaskError(
      'E_USAGE',
      `models rm deletes from the cache by ORG/NAME; ${id} is a folder of your own: delete it yourself`,
    );
  await removeCachedModel(id, textOption(options, 'cacheDir') ?? hubCacheFolder());
  if (output.json) output.value({ removed: id });
  else output.note(`${id} is deleted from the cache`);
  return exit.done;
}
