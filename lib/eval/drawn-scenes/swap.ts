/** The same caption with another colour. */
import type { Caption, ThingColour } from '../../data/drawn-scenes/index.js';
import { thingColours } from '../../data/drawn-scenes/index.js';

/**
 * The caption with the colour of noun `index` replaced; the article in front of it is made to fit ("an orange car", "a red car").
 * Undefined where the noun has no colour, or its words do not stand in the text.
 */
export function swapColour(caption: Caption, index: number, colour: ThingColour): string | undefined {
  const noun = caption.nouns[index];
  if (!noun?.colour) return undefined;
  // Between the colour and the word may stand a pattern.
  const pattern = new RegExp(`(\\b(an?) )?\\b${noun.colour}( [a-z]+)? ${noun.word}\\b`);
  const match = pattern.exec(caption.text);
  if (!match) return undefined;
  const [whole, , article, between = ''] = match;
  const fitting = article === undefined ? '' : /^[aeiou]/.test(colour) ? 'an ' : 'a ';
  const before = caption.text.slice(0, match.index);
  return `${before}${fitting}${colour}${between} ${noun.word}${caption.text.slice(match.index + whole.length)}`;
}

/** The caption with each of the nine colours, in the order of `thingColours`. */
export function colourings(caption: Caption, index: number): string[] | undefined {
  const texts = thingColours.map((colour) => swapColour(caption, index, colour));
  return texts.every((text) => text !== undefined) ? (texts as string[]) : undefined;
}
