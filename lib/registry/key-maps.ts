/** Key maps by name: from the tensor names of original checkpoints to those that a backbone's folder has. */
import { clipRules } from '../backbones/clip/keys.js';
import { show, WordmaskError } from '../util/errors.js';
import { nearest } from '../util/nearest.js';
import type { KeyRule } from '../weights/index.js';

const maps: Readonly<Record<string, readonly KeyRule[]>> = { clip: clipRules };

export const keyMapNames: readonly string[] = Object.keys(maps);

/** @throws E_OPTION with the nearest name */
export function keyMap(name: string): readonly KeyRule[] {
  const rules = Object.hasOwn(maps, name) ? maps[name] : undefined;
  if (rules) return rules;
  const guess = nearest(name, keyMapNames);
  throw new WordmaskError(
    'E_OPTION',
    `no key map is named ${show(name)}${guess ? `; did you mean '${guess}'?` : ''} (known: ${keyMapNames.join(', ')})`,
    { details: { option: 'map', value: name } },
  );
}
