/** Captions as they come: of any bytes, one or several, as text or as JSON. */
import { show } from '../../util/errors.js';

/** Longest caption that is kept, in UTF-16 units: tokenizers cut far earlier. */
const longest = 4096;
const most = 64;

export interface Captions {
  readonly captions: readonly string[];
  readonly nouns?: readonly string[];
}

/** Text as written, ill-formed parts and control characters replaced; what holds no letter or digit is no caption. */
export function cleanCaption(text: string): string | undefined {
  const cleaned = text
    .replace(/\p{Cs}/gu, '\ufffd')
    .replace(/[\p{Cc}\s]+/gu, ' ')
    .trim();
  if (!/[\p{L}\p{N}]/u.test(cleaned)) return undefined;
  return cleaned.slice(0, longest).replace(/\p{Cs}/gu, '');
}

export function decodeText(bytes: Uint8Array): string {
  return new TextDecoder('utf-8').decode(bytes);
}

/** A text file: one caption a line. */
export function captionsOfText(bytes: Uint8Array): Captions {
  return keep(decodeText(bytes).split(/\r\n|\r|\n/));
}

/** A JSON record: `caption`, `text` or `captions` (text or list), and `nouns`. What has another type counts as missing. */
export function captionsOfRecord(record: unknown): Captions {
  if (typeof record === 'string') return keep([record]);
  if (typeof record !== 'object' || record === null || Array.isArray(record)) return { captions: [] };
  const found: unknown[] = [];
  for (const key of ['caption', 'captions', 'text', 'texts']) {
    const value = Object.hasOwn(record, key) ? (record as Record<string, unknown>)[key] : undefined;
    if (Array.isArray(value)) found.push(...value.slice(0, most));
    else if (value !== undefined) found.push(value);
  }
  const listed = Object.hasOwn(record, 'nouns') ? (record as Record<string, unknown>).nouns : undefined;
  const nouns = Array.isArray(listed) ? keep(listed).captions : [];
  return { ...keep(found), ...(nouns.length > 0 && { nouns }) };
}

function keep(texts: readonly unknown[]): Captions {
  const captions: string[] = [];
  for (const text of texts) {
    const cleaned = typeof text === 'string' ? cleanCaption(text) : undefined;
    if (cleaned !== undefined && captions.length < most) captions.push(cleaned);
  }
  return { captions };
}

/** The first bytes of a line or file, for a message. */
export function excerpt(bytes: Uint8Array): string {
  return show(decodeText(bytes.subarray(0, 60)));
}
