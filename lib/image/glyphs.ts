/** A 5 x 7 bitmap alphabet of our own for legends, so that overlays look alike on every machine and need no font. */

/** Glyphs from space to tilde; seven base-32 digits each, one a row from the top, 5 bits with the left pixel first. */
const packed = [
  '00000004444404aa00000aavavaa4fke5u4pq248bjcik8lid4400000248884284222480level0044v440',
  '0000648000v00000000cc122488gehjlphe4c4444eeh168gvu11e11u26aiv22vgu11he68guhhev124888',
  'ehhehheehhf12c0cc0cc00cc0c48248g84200v0v008421248eh16404ehnlnge4ahhvhhuhhuhhuehggghe',
  'sihhhisvgguggvvggugggehgnhhfhhhvhhhe44444e72222ichikokihggggggvhrllhhhhpljhhhehhhhhe',
  'uhhugggehhhliduhhukihfgge11uv444444hhhhhhehhhhha4hhhllrhhha4ahhhha4444v1248gve88888e',
  'g884221e22222e4ah0000000000v840000000e1fhfgguhhhu00fgggf11fhhhf00ehvgf688s8880fhhf1e',
  'gguhhhh40c444e20222icggiksihc44444e00qllll00uhhhh00ehhhe00uhugg00fhf1100moggg00fge1u',
  '88s888600hhhhf00hhha400hhlla00ha4ah00hhf1e00v248v34484434444444o44244o008l200',
].join('');

export const glyphWidth = 5;
export const glyphHeight = 7;

/** Rows of a character as 5-bit numbers. Accents are dropped, anything else outside ASCII is a box. */
export function glyphRows(character: string): readonly number[] {
  const code = character.codePointAt(0) ?? 32;
  if (code < 32 || code > 126) return [31, 17, 17, 17, 17, 17, 31];
  const start = (code - 32) * glyphHeight;
  return Array.from({ length: glyphHeight }, (_, row) => Number.parseInt(packed[start + row] as string, 32));
}

/** The characters to draw for a text: combining marks removed, line breaks as blanks, at most `limit` with a tilde at the cut. */
export function drawableText(text: string, limit: number): string[] {
  const characters = [...text.normalize('NFKD').replace(/\p{M}/gu, '').replace(/\s/gu, ' ')];
  return characters.length > limit ? [...characters.slice(0, limit - 1), '~'] : characters;
}
