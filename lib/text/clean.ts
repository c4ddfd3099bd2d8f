/**
 * Text cleaning as CLIP's tokenizer does it before splitting words: repair, HTML unescaping, trimming.
 * The repair follows the rules of the ftfy library (fix_text with its defaults) with one deliberate difference: text that was
 * decoded with the wrong character set ("schÃ¶n") is left as it is, because guessing needs large tables and a label that is
 * damaged should be seen, not changed.
 */
import { readAssetJson } from '../util/assets.js';

/** What a browser takes the numbers 0x80..0x9F of a character reference (or stray C1 characters) for: Windows-1252. */
const windows1252 = '€\x81‚ƒ„…†‡ˆ‰Š‹Œ\x8dŽ\x8f\x90‘’“”•–—˜™š›œ\x9džŸ';
const maxRounds = 8; // nested "&amp;amp;…" is unescaped this often at most, so that the work stays linear

let entityTable: ReadonlyMap<string, string> | undefined;

function entities(): ReadonlyMap<string, string> {
  entityTable ??= new Map(Object.entries(readAssetJson<Record<string, string>>('html-entities.json')));
  return entityTable;
}

/** All character references of the HTML standard, also those without a semicolon ("&ampx"), as browsers read them. */
export function unescapeHtml(text: string): string {
  if (!text.includes('&')) return text;
  return text.replace(/&(#[0-9]+;?|#[xX][0-9a-fA-F]+;?|[^\t\n\f <&#;]{1,32};?)/gu, (_, reference: string) => {
    if (reference.startsWith('#')) return numericReference(reference);
    const exact = entities().get(reference);
    if (exact !== undefined) return exact;
    for (let length = reference.length - 1; length > 1; length--) {
      const prefix = entities().get(reference.slice(0, length));
      if (prefix !== undefined) return prefix + reference.slice(length);
    }
    return `&${reference}`;
  });
}

function numericReference(reference: string): string {
  const hex = /^#[xX]/.test(reference);
  const code = Number.parseInt(reference.slice(hex ? 2 : 1), hex ? 16 : 10);
  if (code === 0 || (code >= 0xd800 && code <= 0xdfff) || code > 0x10ffff) return '\ufffd';
  if (code === 13) return '\r';
  if (code >= 0x80 && code <= 0x9f) return windows1252[code - 0x80] as string;
  const control = code < 0x20 && code !== 9 && code !== 10 && code !== 12;
  const nonCharacter = (code & 0xfffe) === 0xfffe || (code >= 0xfdd0 && code <= 0xfdef);
  return control || code === 0x7f || nonCharacter ? '' : String.fromCodePoint(code);
}

/** Only references that end in a semicolon and are whole: what can safely be taken for an escape in plain text. */
function unescapeCertain(text: string): string {
  return text.replace(/&#?[0-9A-Za-z]{1,24};/g, (reference) => {
    if (!reference.startsWith('&#')) return entities().get(reference.slice(1)) ?? reference;
    const value = unescapeHtml(reference);
    return value.includes(';') ? reference : value;
  });
}

// Latin ligatures, full- and half-width forms: their compatibility forms are the letters meant.
const compatibility = /[\u0132\u0133\u0149\u01c4-\u01cc\u01f1-\u01f3\u3000\ufb00-\ufb04\ufb06\uff01-\uffee]/gu;
// These are the characters that Unicode TR 20 calls unsuitable for text.
const controls = /[\0-\x08\x0b\x0e-\x1f\x7f\u206a-\u206f\ufeff\ufff9-\ufffc]/gu;

function repairOnce(line: string, unescape: boolean): string {
  let text = unescape && line.includes('&') ? unescapeCertain(line) : line;
  text = text.replace(/[\x80-\x9f]/gu, (c) => windows1252[c.charCodeAt(0) - 0x80] as string);
  text = text.replace(compatibility, (c) => c.normalize('NFKC')).replace(/\ufb05/gu, 'ſt');
  text = text.replace(/[\u201c-\u201f]/gu, '"').replace(/[\u02bc\u2018-\u201b]/gu, "'");
  text = text.replace(/\r\n|[\r\u2028\u2029\x85]/gu, '\n');
  text = text.replace(/\x1b\[[\d;]*[a-zA-Z]/gu, '').replace(controls, '');
  return text.normalize('NFC');
}

/** Repairs a text line by line until nothing changes. A "<" says that the text is HTML already: then nothing is unescaped from there on. */
export function repairText(text: string): string {
  let unescape = true;
  return text
    .split(/(?<=\n)/u)
    .map((line) => {
      if (line.includes('<')) unescape = false;
      let current = line;
      for (let round = 0; round < maxRounds; round++) {
        const next = repairOnce(current, unescape);
        if (next === current) break;
        current = next;
      }
      return current;
    })
    .join('');
}

/** CLIP's cleaning: repair, unescape twice, collapse blanks, lower case. */
export function cleanClip(text: string): string {
  const plain = /^[\x20-\x25\x27-\x7e]*$/.test(text) ? text : unescapeHtml(unescapeHtml(repairText(text)));
  return plain
    .replace(/\p{White_Space}+/gu, ' ')
    .trim()
    .toLowerCase();
}

/** True when every surrogate has its partner, i.e. the text can be written as UTF-8. */
export function isWellFormed(text: string): boolean {
  return !/\p{Surrogate}/u.test(text);
}
