/** All systems by name. A third party adds its own with `registerSystem`. */
import { clearclip } from '../systems/clearclip/index.js';
import { clip } from '../systems/clip/index.js';
import { maskclip } from '../systems/maskclip/index.js';
import { mgca } from '../systems/mgca/index.js';
import { naclip } from '../systems/naclip/index.js';
import { sclip } from '../systems/sclip/index.js';
import { show, WordmaskError } from '../util/errors.js';
import { nearest } from '../util/nearest.js';

/** What a registered system is: the type of any of ours. */
export type DenseSystemModule = typeof naclip;

const systems = new Map<string, DenseSystemModule>(
  [clip, maskclip, sclip, clearclip, naclip, mgca].map((system) => [system.info.name, system]),
);

export function systemNames(): string[] {
  return [...systems.keys()];
}

/** @throws E_MODEL_NOT_FOUND with the nearest name */
export function findSystem(name: string): DenseSystemModule {
  const found = systems.get(name);
  if (found) return found;
  const guess = nearest(String(name), systems.keys());
  throw new WordmaskError(
    'E_MODEL_NOT_FOUND',
    `no system is named ${show(name)}${guess ? `; did you mean '${guess}'?` : ''} (known: ${systemNames().join(', ')})`,
    { details: { system: name } },
  );
}

/** Adds a system of one's own. @throws E_USAGE when the name is taken */
export function registerSystem(system: DenseSystemModule): void {
  const { name } = system.info;
  if (systems.has(name)) throw new WordmaskError('E_USAGE', `registerSystem: ${show(name)} is registered already`);
  systems.set(name, system);
}
