/** Key maps by name: from the tensor names of original checkpoints to those that a backbone's folder has. */
import { albefIgnored, albefInfix, albefRules } from '../backbones/albef/keys.js';
import { blipIgnored, blipInfix, blipRules } from '../backbones/blip/keys.js';
import { bridgeTowerIgnored, bridgeTowerInfix, bridgeTowerRules } from '../backbones/bridgetower/keys.js';
import { clipIgnored, clipRules } from '../backbones/clip/keys.js';
import { mplugIgnored, mplugInfix } from '../backbones/mplug/keys.js';
import { show, WordmaskError } from '../util/errors.js';
import { nearest } from '../util/nearest.js';
import type { KeyMap, KeyRule } from '../weights/index.js';

/** What a backbone does not use is left out of the converted file. */
function keyMapOf(rules: readonly KeyRule[], ignored: readonly string[], infix?: RegExp): KeyMap {
  return { rules: [...ignored.map((from): KeyRule => ({ from, to: null })), ...rules], infix };
}

const maps: Readonly<Record<string, KeyMap>> = {
  clip: keyMapOf(clipRules, clipIgnored),
  blip: keyMapOf(blipRules, blipIgnored, blipInfix),
  albef: keyMapOf(albefRules, albefIgnored, albefInfix),
  mplug: keyMapOf([], mplugIgnored, mplugInfix),
  bridgetower: keyMapOf(bridgeTowerRules, bridgeTowerIgnored, bridgeTowerInfix),
};

export const keyMapNames: readonly string[] = Object.keys(maps);

/** @throws E_OPTION with the nearest name */
export function keyMap(name: string): KeyMap {
  const found = Object.hasOwn(maps, name) ? maps[name] : undefined;
  if (found) return found;
  const guess = nearest(name, keyMapNames);
  throw new WordmaskError(
    'E_OPTION',
    `no key map is named ${show(name)}${guess ? `; did you mean '${guess}'?` : ''} (known: ${keyMapNames.join(', ')})`,
    { details: { option: 'map', value: name } },
  );
}
