/** What `tune` found, written into the model's own folder, so that every later `open` has it. */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type ModelManifest, manifestText, readManifest } from '../registry/manifest.js';
import { type ResolveOptions, resolveModel } from '../registry/resolve.js';
import { systemNames } from '../registry/systems.js';
import { WordmaskError } from '../util/errors.js';
import { writeFileAtomic } from '../util/files.js';
import { readCheckpointManifest, replaceCheckpointFile } from '../weights/checkpoint.js';
import type { TuneResult } from './tune.js';

type Found = Pick<TuneResult, 'system' | 'tuning'>;
type SaveOptions = Omit<ResolveOptions, 'systems'>;

/**
 * Writes `tuning` into wordmask.json of a model folder, beside what was tuned before, and makes one where there is none. In a checkpoint of a run the
 * hash of the file is renewed with it.
 * @param model as `open` takes it: the name or path that the result was found with
 * @returns the file
 * @throws E_OPTION for a built-in model, one of the shared cache, or one that belongs to another system; E_DISK
 */
export async function saveTuning(model: string, result: Found, options: SaveOptions = {}): Promise<string> {
  const { file, folder, there } = await tuningPlace(model, result, options);
  // A setting of one system means nothing to another: the folder has to say whose it is.
  const manifest: ModelManifest = {
    ...(there ?? { format: 1 }),
    system: result.system,
    tuning: { ...there?.tuning, ...result.tuning } as ModelManifest['tuning'],
  };
  const text = manifestText(file, manifest);
  const listed = await readCheckpointManifest(folder, options.signal).catch(() => undefined);
  if (listed) await replaceCheckpointFile(folder, 'wordmask.json', text);
  else await writeFileAtomic(file, text, { signal: options.signal });
  return file;
}

/** Where a tuning would go, before it is known: what `saveTuning` refuses is refused before the work. @throws as `saveTuning` */
export async function tuningPlace(
  model: string,
  result: Pick<Found, 'system'> & Partial<Found>,
  options: SaveOptions = {},
): Promise<{ file: string; folder: string; there?: ModelManifest }> {
  const { folder, weights } = await resolveModel(model, { ...options, systems: systemNames() });
  const file = join(folder.path, 'wordmask.json');
  const refuse = (why: string): never => {
    const call = result.tuning ? `: ${callForm(result.tuning)}` : ' (--set)';
    throw new WordmaskError(
      'E_OPTION',
      `the tuning cannot be saved: ${why}; copy the folder and tune the copy (-m ./copy), or pass it with each call${call}`,
      { details: { option: 'save', folder: folder.path } },
    );
  };
  if (weights.kind === 'builtin') refuse(`'${weights.name}' is built into the package`);
  if (weights.kind === 'hub') refuse(`'${weights.id}' lies in the Hugging Face cache, which other programs share`);
  const there = await stat(file).then(
    () => readManifest(file, options.signal),
    () => undefined,
  );
  if (there?.system !== undefined && there.system !== result.system)
    refuse(`${file} says that the model is one of ${there.system}, it was tuned as ${result.system}`);
  return { file, folder: folder.path, ...(there && { there }) };
}

function callForm(tuning: Readonly<Record<string, unknown>>): string {
  return Object.entries(tuning)
    .map(([key, value]) => `--set ${key}=${JSON.stringify(value)}`)
    .join(' ');
}
