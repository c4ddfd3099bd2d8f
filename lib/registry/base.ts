/**
 * The frozen model beside which the parts of another were trained: how a checkpoint names it so that both can move together, and
 * where it is looked for. Names and hub ids stay what they are; a folder is named from the checkpoint's own.
 */
import { realpath, stat } from 'node:fs/promises';
import { basename, dirname, join, parse, relative, resolve, sep } from 'node:path';
import { assetPath } from '../util/assets.js';
import { modelNames } from './builtin.js';
import type { ModelFolder } from './folder.js';
import type { Weights } from './names.js';

/**
 * What the wordmask.json in `from` says of a base: a path from there where both lie in one folder below the root, else an
 * absolute one.
 * @param from folder of the checkpoint; it need not exist, the one around it has to
 */
export async function lastingName(weights: Weights, folder: ModelFolder, from: string): Promise<string> {
  if (weights.kind === 'builtin') return weights.name;
  if (weights.kind === 'hub') return weights.revision === undefined ? weights.id : `${weights.id}@${weights.revision}`;
  const here = join(await realpath(dirname(resolve(from))), basename(from));
  const there = await realpath(folder.path);
  const path = relative(here, there).split(sep).join('/');
  const { root } = parse(here);
  const up = path.split('/').filter((part) => part === '..').length;
  const depth = relative(root, here).split(sep).length;
  const apart = parse(there).root !== root || up >= depth;
  if (apart) return there;
  return path.startsWith('.') ? path : `./${path}`;
}

/**
 * Where the base of a folder is: at its path from there, else under the same name in a folder around it or, for a built-in model of
 * another installation, in this one. Only a base whose hash is known is looked for elsewhere: opening compares it.
 */
export async function findBase(folder: string, path: string, hashed: boolean): Promise<string> {
  const here = await realpath(folder);
  const wanted = resolve(here, path);
  if (!hashed || (await isModel(wanted))) return wanted;
  const tail = path.startsWith('.') ? path.replace(/^(\.{1,2}\/)+/, '') : basename(path);
  for (let around = dirname(here); around !== dirname(around); around = dirname(around)) {
    const place = join(around, tail);
    if (await isModel(place)) return place;
  }
  const name = /[\\/]assets[\\/]models[\\/]([^\\/]+)$/.exec(wanted)?.[1] ?? '';
  return modelNames.get(name) === null ? assetPath(`models/${name}`) : wanted;
}

async function isModel(folder: string): Promise<boolean> {
  return (await stat(join(folder, 'config.json')).catch(() => undefined)) !== undefined;
}
