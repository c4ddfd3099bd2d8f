/** Texts of the published configs: templates, background words, stuff of data sets that have things and stuff. */
import { classList } from '../../text/index.js';

/** What a text becomes for scoring, and for maps from the second round on; background words from the first. */
export const wrapper = 'a clean origami {}.';

/** Function replacement: `$` in a user's text must stay what it is. */
export function fill(template: string, text: string): string {
  return template.replace('{}', () => text);
}

const sizes = ['small', 'medium', 'large'] as const;

/** `semantic_templates` of configs/*.yaml. */
export const semanticTemplates: readonly string[] = [
  wrapper,
  'a photo of a {}.',
  'This is a photo of a {}',
  'There is a {} in the scene',
  'There is the {} in the scene',
  'a photo of a {} in the scene',
  ...sizes.map((size) => `a photo of a ${size} {}.`),
  ...sizes.map((size) => `This is a photo of a ${size} {}.`),
  ...sizes.map((size) => `There is a ${size} {} in the scene.`),
];

/** `bg_cls` of configs/*.yaml, the same for all data sets. */
export const backgroundTexts: readonly string[] = [
  ...['ground', 'land', 'grass', 'tree', 'building', 'wall', 'sky', 'lake', 'water', 'river', 'sea', 'railway'],
  ...['railroad', 'helmet', 'cloud', 'house', 'mountain', 'ocean', 'road', 'rock', 'street', 'valley', 'bridge'],
];

/** The 21 of the Context classes that data/context.py takes as stuff. */
const contextStuff: readonly string[] = [
  ...['bedclothes', 'ceiling', 'cloth', 'curtain', 'floor', 'grass', 'ground', 'light', 'mountain', 'platform', 'road'],
  ...['sidewalk', 'sky', 'snow', 'wall', 'water', 'window', 'wood', 'door', 'fence', 'rock'],
];

/** Names of the stuff of a data set. ADE20K's are those that its panoptic list does not count as things, in ade150's spelling. */
export function stuffOf(name: 'pc59' | 'ade150'): readonly string[] {
  if (name === 'pc59') return contextStuff;
  const panoptic = classList('ade-panoptic');
  return classList('ade150').flatMap((entry, index) => (panoptic[index]?.thing === false ? [entry.name] : []));
}
