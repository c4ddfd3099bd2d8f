/** Systems that can be trained, by name; their training code is loaded when a recipe names one. */
import type { TrainSystem } from '../systems/types.js';
import { show, WordmaskError } from '../util/errors.js';
import { nearest } from '../util/nearest.js';

const trainable = new Map<string, () => Promise<TrainSystem>>([
  ['clip', async () => (await import('../systems/clip/train.js')).trainClip],
]);

export function trainableNames(): string[] {
  return [...trainable.keys()];
}

/** @throws E_OPTION with the nearest name: systems are named in recipes */
export async function findTrainable(name: string): Promise<TrainSystem> {
  const load = trainable.get(name);
  if (load) return load();
  const guess = nearest(name, trainable.keys());
  throw new WordmaskError(
    'E_OPTION',
    `no system that can be trained is named ${show(name)}${guess ? `; did you mean '${guess}'?` : ''} (known: ${trainableNames().join(', ')})`,
    { details: { system: name } },
  );
}

/** Adds a system of one's own. @throws E_USAGE when the name is taken */
export function registerTrainable(name: string, system: TrainSystem): void {
  if (trainable.has(name)) throw new WordmaskError('E_USAGE', `registerTrainable: ${show(name)} is registered already`);
  trainable.set(name, async () => system);
}
