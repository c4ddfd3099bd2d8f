/**
 * Captions of scenes from a grammar. A caption needs the record of a scene alone, not its pixels, so a scene gets a new one each
 * time it is used; it names only what is visible, and every relation in it is true.
 */
import { Random } from '../../../util/random.js';
import type { SceneKind, ThingColour, ThingName } from '../classes.js';
import type { SceneRecord, SceneStuff, SceneThing } from '../draw.js';
import { thingShapes } from '../things/index.js';
import {
  countWords,
  frames,
  patternWords,
  placeWords,
  plural,
  type Relation,
  relationWords,
  sceneFrames,
  scenePhrases,
  sizeWords,
  stuffFrames,
  synonyms,
} from './words.js';

export interface CaptionOptions {
  /** `complete`: every visible thing with its colour, stuff 0.7, the scene phrase. Else `ordinary`. */
  readonly mode?: 'ordinary' | 'complete';
}

export interface NamedNoun {
  /** Index in `sceneClasses`. */
  readonly class: number;
  /** As it stands in the text. */
  readonly word: string;
  readonly colour?: ThingColour;
  readonly pattern?: string;
  readonly size?: string;
  readonly count?: number;
}

export interface Caption {
  readonly text: string;
  readonly nouns: readonly NamedNoun[];
}

/** What covers less of the picture than this is not named. */
export const visibleShare = 0.0035;

/** Visible things of one group, as one object of a sentence. */
export interface VisibleGroup {
  readonly name: ThingName;
  readonly class: number;
  readonly colour: ThingColour;
  readonly pattern: SceneThing['pattern'];
  readonly members: readonly SceneThing[];
  /** Middle of the visible boxes, shares of width and height. */
  readonly x: number;
  readonly y: number;
}

export function visibleGroups(scene: SceneRecord): VisibleGroup[] {
  const groups = new Map<number, SceneThing[]>();
  for (const thing of scene.things) {
    if (thing.area < visibleShare) continue;
    const members = groups.get(thing.group);
    if (members) members.push(thing);
    else groups.set(thing.group, [thing]);
  }
  return [...groups.values()].map((members) => {
    const [first] = members as [SceneThing];
    const mean = (a: 0 | 1): number =>
      members.reduce((sum, { box }) => sum + (box[a] + box[(a + 2) as 2 | 3]) / 2, 0) / members.length;
    return { ...first, members, x: mean(0), y: mean(1) };
  });
}

export function visibleStuff(scene: SceneRecord): SceneStuff[] {
  return scene.stuff.filter(({ area }) => area >= visibleShare);
}

/**
 * One caption.
 * @param draw number of the caption: the same scene, number and mode give the same text
 */
export function caption(scene: SceneRecord, draw: number, options: CaptionOptions = {}): Caption {
  const random = new Random(scene.seed).fork('caption').fork(draw);
  return new Sentence(scene, random, options.mode === 'complete').build();
}

class Sentence {
  readonly #nouns: NamedNoun[] = [];
  readonly #scene: SceneRecord;
  readonly #random: Random;
  readonly #complete: boolean;

  constructor(scene: SceneRecord, random: Random, complete: boolean) {
    this.#scene = scene;
    this.#random = random;
    this.#complete = complete;
  }

  build(): Caption {
    const random = this.#random;
    const phrase = this.#scenePhrase();
    if (!this.#complete && random.chance(0.06)) return { text: fill(random.pick(sceneFrames), phrase), nouns: [] };
    const visible = random.shuffle(visibleGroups(this.#scene));
    let groups = this.#complete ? visible : visible.filter(() => random.chance(0.7));
    const often = this.#complete ? 0.7 : random.uniform(0.35, 0.5);
    let stuff = visibleStuff(this.#scene).filter(() => random.chance(often));
    const named = this.#complete || random.chance(0.5);
    if (!this.#complete) {
      const room = named ? 3 : 4;
      groups = groups.slice(0, room);
      stuff = random.shuffle(stuff).slice(0, Math.max(1, room - groups.length));
    }
    if (groups.length === 0 && stuff.length === 0) {
      if (visible.length === 0) return { text: fill(random.pick(sceneFrames), phrase), nouns: [] };
      groups = visible.slice(0, 1);
    }
    const text = this.#body(groups, stuff);
    const framed = fill(random.pick(frames), text);
    return { text: named ? `${framed} ${phrase}` : framed, nouns: this.#nouns };
  }

  #scenePhrase(): string {
    const kind: SceneKind = this.#scene.night && this.#random.chance(0.5) ? 'night' : this.#scene.kind;
    return this.#random.pick(scenePhrases[kind]);
  }

  /** Things, joined by relations or commas, each perhaps with the stuff it stands against, then the other stuff. */
  #body(groups: readonly VisibleGroup[], stuff: readonly SceneStuff[]): string {
    const random = this.#random;
    const rest = [...stuff];
    let text = '';
    groups.forEach((group, i) => {
      const before = groups[i - 1];
      if (before) {
        const relation = random.chance(0.4) ? relationOf(before, group) : undefined;
        text += relation
          ? ` ${random.pick(relationWords[relation])} `
          : i === groups.length - 1 && random.chance(0.7)
            ? ' and '
            : ', ';
      }
      text += this.#thing(group);
      const at = random.chance(0.6) ? rest.findIndex((region) => region.class === this.#standsOn(group)?.class) : -1;
      if (at >= 0) text += ` ${this.#place(group, rest.splice(at, 1)[0] as SceneStuff)}`;
    });
    const ways = random.shuffle(stuffFrames);
    random.shuffle(rest).forEach((region, i) => {
      const word = this.#stuffWord(region);
      text += text === '' ? `the ${word}` : ` ${fill(ways[i] as string, word)}`;
    });
    return text;
  }

  #thing(group: VisibleGroup): string {
    const random = this.#random;
    const count = Math.min(group.members.length, 3);
    const base = random.chance(0.6) ? (synonyms[group.name][0] as string) : random.pick(synonyms[group.name]);
    const word = count > 1 ? plural(base) : base;
    const colour = this.#complete || random.chance(0.6) ? group.colour : undefined;
    const pattern = random.chance(group.pattern === 'plain' ? 0.08 : 0.5)
      ? random.pick(patternWords[group.pattern])
      : undefined;
    const extent = Math.max(...group.members.map((thing) => thing.extent));
    const class_ = extent < 0.3 ? 'small' : extent > 0.56 ? 'large' : undefined;
    const size = class_ && random.chance(0.35) ? random.pick(sizeWords[class_]) : undefined;
    this.#nouns.push({
      class: group.class,
      word,
      count,
      ...(colour && { colour }),
      ...(pattern && { pattern }),
      ...(size && { size }),
    });
    const words = [size, ...(random.chance(0.5) ? [pattern, colour] : [colour, pattern]), word].filter(
      (w) => w !== undefined,
    );
    return withArticle(random.pick(countWords[count] as readonly string[]), words.join(' '));
  }

  /** The region behind the foot of a thing. */
  #standsOn(group: VisibleGroup): SceneStuff | undefined {
    const [first] = group.members as [SceneThing];
    const regions = this.#scene.stuff;
    return regions[first.region];
  }

  #place(group: VisibleGroup, region: SceneStuff): string {
    const word = this.#stuffWord(region);
    const { place } = thingShapes[group.name];
    const how =
      region.name === 'sky'
        ? place === 'air'
          ? 'in'
          : 'against'
        : region.name === 'sea'
          ? place === 'air'
            ? 'against'
            : 'water'
          : region.name === 'brick wall' || region.name === 'mountain' || place === 'air'
            ? 'against'
            : 'on';
    return `${this.#random.pick(placeWords[how])} ${word}`;
  }

  #stuffWord(region: SceneStuff): string {
    const random = this.#random;
    const word = random.chance(0.6) ? (synonyms[region.name][0] as string) : random.pick(synonyms[region.name]);
    this.#nouns.push({ class: region.class, word });
    return word;
  }
}

function fill(frame: string, text: string): string {
  return frame.replace('{}', text);
}

function withArticle(determiner: string, rest: string): string {
  return determiner === 'a' && /^[aeiou]/.test(rest) ? `an ${rest}` : `${determiner} ${rest}`;
}

/** A true relation of a to b, the clearest there is. */
function relationOf(a: VisibleGroup, b: VisibleGroup): Relation {
  const [dx, dy] = [a.x - b.x, a.y - b.y];
  if (a.members.length === 1 && b.members.length === 1) {
    const [p, q] = [a.members[0] as SceneThing, b.members[0] as SceneThing];
    const w = Math.min(p.box[2], q.box[2]) - Math.max(p.box[0], q.box[0]);
    const h = Math.min(p.box[3], q.box[3]) - Math.max(p.box[1], q.box[1]);
    if (w > 0.04 && h > 0.04) return p.instance < q.instance ? 'behind' : 'front';
  }
  if (Math.abs(dx) > 0.22 && Math.abs(dx) > Math.abs(dy)) return dx < 0 ? 'left' : 'right';
  if (Math.abs(dy) > 0.22) return dy < 0 ? 'above' : 'below';
  return 'near';
}
