/** Finds the nouns of a caption, with the class each stands for and the colour in front of it. */
import { classIndex, type SceneClass, sceneClasses, type ThingColour, thingColours, thingNames } from '../classes.js';
import { plural, synonyms } from './words.js';

export interface CaptionNoun {
  /** Index in `sceneClasses`. */
  readonly class: number;
  /** As it stands in the text. */
  readonly word: string;
  readonly colour?: ThingColour;
}

const things = new Set<SceneClass>(thingNames);

/** Class of every name and synonym, singular and plural. */
const classOfWord: ReadonlyMap<string, number> = new Map(
  sceneClasses.flatMap((name) =>
    synonyms[name].flatMap((word): [string, number][] => {
      const index = classIndex.get(name) as number;
      return things.has(name)
        ? [
            [word, index],
            [plural(word), index],
          ]
        : [[word, index]];
    }),
  ),
);

/** The nouns of a text in their order; words that name no class are passed over. */
export function lexicon(caption: string): CaptionNoun[] {
  const words = caption.toLowerCase().match(/[a-z]+/g) ?? [];
  const out: CaptionNoun[] = [];
  let from = 0;
  for (let i = 0; i < words.length; i++) {
    const pair = `${words[i]} ${words[i + 1]}`;
    const word = classOfWord.has(pair) ? pair : (words[i] as string);
    const found = classOfWord.get(word);
    if (found === undefined) continue;
    // Attributes stand between the noun before and this one, at most three words ahead of it.
    const before = words.slice(Math.max(from, i - 3), i);
    const colour = thingColours.find((name) => before.includes(name));
    out.push({ class: found, word, ...(colour && { colour }) });
    if (word === pair) i++;
    from = i + 1;
  }
  return out;
}

/** All words that name a class. */
export const classWords: ReadonlyMap<string, number> = classOfWord;
