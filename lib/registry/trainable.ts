/** Systems that can be trained, by name; their training code is loaded when a recipe names one. */
import { resolve } from 'node:path';
import type { TrainSystem } from '../systems/types.js';
import { show, WordmaskError } from '../util/errors.js';
import { nearest } from '../util/nearest.js';
import { resolveModel } from './resolve.js';
import { systemNames } from './systems.js';

const trainable = new Map<string, () => Promise<TrainSystem>>([
  ['blip', async () => (await import('../systems/blip/train.js')).trainBlip],
  ['clip', async () => (await import('../systems/clip/train.js')).trainClip],
  ['mgca', async () => (await import('../systems/mgca/train.js')).trainMgca],
]);

export function trainableNames(): string[] {
  return [...trainable.keys()];
}

/** @throws E_OPTION with the nearest name: systems are named in recipes */
export async function findTrainable(name: string): Promise<TrainSystem> {
  const load = trainable.get(name);
  if (load) return withBase(await load());
  const guess = nearest(name, trainable.keys());
  throw new WordmaskError(
    'E_OPTION',
    `no system that can be trained is named ${show(name)}${guess ? `; did you mean '${guess}'?` : ''} (known: ${trainableNames().join(', ')})`,
    { details: { system: name } },
  );
}

/** Systems get the folder of the base, whatever a recipe calls it; paths start from the recipe's folder. */
function withBase(system: TrainSystem): TrainSystem {
  return async (request) => {
    const { base, folder = '.', signal } = request;
    if (base === undefined) return system(request);
    const name = /^(\.|\/|[A-Za-z]:[\\/])/.test(base) ? resolve(folder, base) : base;
    const found = await resolveModel(name, { systems: systemNames(), signal });
    return system({ ...request, base: found.folder.path });
  };
}

/** Adds a system of one's own. @throws E_USAGE when the name is taken */
export function registerTrainable(name: string, system: TrainSystem): void {
  if (trainable.has(name)) throw new WordmaskError('E_USAGE', `registerTrainable: ${show(name)} is registered already`);
  trainable.set(name, async () => system);
}
