/**
 * A judge that knows a scene and checks what a caption says of it: names, colours, patterns, sizes, counts, the kind of the scene.
 * It does not check relations. Captions are often true of several scenes, so even this judge cannot always tell whose caption
 * it reads; its figure is the most that checking can give.
 */
import {
  type Caption,
  type SceneRecord,
  sceneKinds,
  scenePhrases,
  type VisibleGroup,
  visibleGroups,
  visibleStuff,
} from '../../data/drawn-scenes/index.js';
import { classCount } from './scores.js';

const sizes: Readonly<Record<string, (extent: number) => boolean>> = {
  small: (extent) => extent < 0.3,
  little: (extent) => extent < 0.3,
  tiny: (extent) => extent < 0.3,
  large: (extent) => extent > 0.56,
  big: (extent) => extent > 0.56,
  huge: (extent) => extent > 0.56,
};
const patterns: Readonly<Record<string, string>> = {
  plain: 'plain',
  striped: 'striped',
  stripy: 'striped',
  dotted: 'dotted',
  spotted: 'dotted',
};

/** Kinds by their phrase at the end of a caption; a phrase belongs to one kind. */
const kindOfPhrase = new Map(sceneKinds.flatMap((kind) => scenePhrases[kind].map((phrase) => [phrase, kind] as const)));

/** Whether everything that the caption says is true of the scene, as far as the judge checks. */
export function isTrue(caption: Caption, scene: SceneRecord): boolean {
  const groups = visibleGroups(scene);
  const stuff = new Set(visibleStuff(scene).map((region) => region.class));
  const named = caption.nouns.every(
    (noun) => (isStuff(noun.class) && stuff.has(noun.class)) || groups.some((group) => fits(noun, group)),
  );
  return named && phraseFits(caption.text, scene);
}

/** Stuff comes first in the list of classes. */
function isStuff(index: number): boolean {
  return index < 10 && index < classCount;
}

function fits(noun: Caption['nouns'][number], group: VisibleGroup): boolean {
  if (noun.class !== group.class) return false;
  if (noun.colour !== undefined && noun.colour !== group.colour) return false;
  if (noun.pattern !== undefined && patterns[noun.pattern] !== group.pattern) return false;
  if (noun.count !== undefined && noun.count !== Math.min(group.members.length, 3)) return false;
  const extent = Math.max(...group.members.map((thing) => thing.extent));
  return noun.size === undefined || (sizes[noun.size]?.(extent) ?? true);
}

function phraseFits(text: string, scene: SceneRecord): boolean {
  for (const [phrase, kind] of kindOfPhrase)
    if (text.endsWith(` ${phrase}`)) return kind === scene.kind || (kind === 'night' && scene.night);
  return true;
}

/** How often the judge names the right one of these captions: it picks among those that are true of the scene with equal chance. */
export function judgeChance(candidates: readonly Caption[], scene: SceneRecord): number {
  return 1 / Math.max(1, candidates.filter((candidate) => isTrue(candidate, scene)).length);
}
