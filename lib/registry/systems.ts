/** All systems by name. A third party adds its own with `registerSystem`. */
import { clearclip } from '../systems/clearclip/index.js';
import { clip } from '../systems/clip/index.js';
import { clipAsRnn } from '../systems/clip-as-rnn/index.js';
import { maskclip } from '../systems/maskclip/index.js';
import { mgca } from '../systems/mgca/index.js';
import { naclip } from '../systems/naclip/index.js';
import { pnpOvss } from '../systems/pnp-ovss/index.js';
import { sclip } from '../systems/sclip/index.js';
import type { PredictorSystemModule, SystemModule } from '../systems/types.js';
import { show, WordmaskError } from '../util/errors.js';
import { nearest } from '../util/nearest.js';

export type { DenseSystemModule, PredictorSystemModule, SystemModule } from '../systems/types.js';

const systems = new Map<string, SystemModule>(
  [clip, maskclip, sclip, clearclip, naclip, mgca, pnpOvss, clipAsRnn].map((system) => [system.info.name, system]),
);

/** Taken for the families that several systems run on, where nobody names one. */
const usual = naclip;

export function systemNames(): string[] {
  return [...systems.keys()];
}

/** @throws E_MODEL_NOT_FOUND with the nearest name */
export function findSystem(name: string): SystemModule {
  const found = systems.get(name);
  if (found) return found;
  const guess = nearest(String(name), systems.keys());
  throw new WordmaskError(
    'E_MODEL_NOT_FOUND',
    `no system is named ${show(name)}${guess ? `; did you mean '${guess}'?` : ''} (known: ${systemNames().join(', ')})`,
    { details: { system: name } },
  );
}

/** The system of a model that names none, by its `model_type`. */
export function systemFor(modelType: string): SystemModule {
  const fits = ({ info }: SystemModule): boolean => info.backbones.includes(modelType);
  return fits(usual) ? usual : ([...systems.values()].find(fits) ?? usual);
}

/** Whether a system predicts by itself: picture and words meet inside the method. */
export function isPredictor(system: SystemModule): system is PredictorSystemModule {
  return 'open' in system;
}

/** Adds a system of one's own. @throws E_USAGE when the name is taken */
export function registerSystem(system: SystemModule): void {
  const { name } = system.info;
  if (systems.has(name)) throw new WordmaskError('E_USAGE', `registerSystem: ${show(name)} is registered already`);
  systems.set(name, system);
}
