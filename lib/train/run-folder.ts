/** The output folder of a run: `run.json`, `step-N/`, `metrics.jsonl`, `report.html`. */
import { readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { show, WordmaskError } from '../util/errors.js';
import { guardDisk, makeFolder, readFileLimited, writeFileAtomic } from '../util/files.js';
import { parseJsonStrict } from '../util/json.js';
import { packageVersion } from '../util/version.js';
import { removeLeftovers } from '../weights/index.js';
import { checkRecipe, type Recipe } from './recipe.js';

const own = /^(step-\d+|damaged-step-\d+-[\w-]+|\.step-\d+-[\w-]+\.tmp|run\.json|metrics\.jsonl|report\.html)$/;
const runLimit = 8 << 20;

export interface RunRecord {
  readonly format: 'wordmask-run/1';
  readonly system: string;
  readonly version: string;
  readonly recipe: Recipe;
}

export type RunMode = 'new' | 'resume' | 'overwrite';

/**
 * Looks what the folder holds and makes it where it is missing. Nothing of an earlier run is deleted yet.
 * @returns the record of the run that is there, with `resume` alone
 * @throws E_USAGE when a run is there and neither `resume` nor `overwrite` was said, E_CHECKPOINT for a damaged record, E_DISK
 */
export async function prepareRunFolder(out: string, mode: RunMode): Promise<RunRecord | undefined> {
  const info = await stat(out).catch(() => undefined);
  if (info && !info.isDirectory())
    throw new WordmaskError('E_USAGE', `${show(out)} is a file: name a folder for the run`, { details: { out } });
  await guardDisk('make', out, () => makeFolder(out));
  const mine = await ownFiles(out);
  if (mine.length === 0) return undefined;
  if (mode === 'new')
    throw new WordmaskError(
      'E_USAGE',
      `${show(out)} holds a run already (${mine.slice(0, 4).join(', ')}): go on with --resume (resume: true), replace it with --overwrite (overwrite: true), or name another folder`,
      { details: { out, found: mine } },
    );
  if (mode === 'overwrite') return undefined;
  await removeLeftovers(out);
  return readRunRecord(out);
}

/** Deletes what a run has written; files of others stay. @throws E_DISK */
export async function clearRunFolder(out: string): Promise<void> {
  for (const name of await ownFiles(out))
    await guardDisk('delete', join(out, name), () => rm(join(out, name), { recursive: true, force: true }));
}

async function ownFiles(out: string): Promise<string[]> {
  return (await guardDisk('read', out, () => readdir(out))).filter((name) => own.test(name));
}

export async function writeRunRecord(out: string, recipe: Recipe): Promise<void> {
  const record: RunRecord = { format: 'wordmask-run/1', system: recipe.system, version: packageVersion, recipe };
  await writeFileAtomic(join(out, 'run.json'), `${JSON.stringify(record, null, 2)}\n`);
}

/** @throws E_CHECKPOINT for a file that is not as one was written */
export async function readRunRecord(out: string): Promise<RunRecord | undefined> {
  const path = join(out, 'run.json');
  if (!(await stat(path).catch(() => undefined))) return undefined;
  const bytes = await readFileLimited(path, { limit: runLimit, code: 'E_CHECKPOINT' });
  const record = parseJsonStrict(bytes, { code: 'E_CHECKPOINT', what: path }) as RunRecord | null;
  if (record?.format !== 'wordmask-run/1' || typeof record.system !== 'string')
    throw new WordmaskError('E_CHECKPOINT', `${path} is no record of a run: start again with --overwrite`, {
      details: { file: path },
    });
  return { ...record, recipe: checkRecipe(record.recipe, path) };
}
