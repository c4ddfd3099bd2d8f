/** JSON handed in as a path or as its parsed content. */
import { readFile } from 'node:fs/promises';
import { show, WordmaskError } from '../../util/errors.js';

export type JsonInput = string | URL | object;

export async function readJsonInput(input: JsonInput, name: string): Promise<unknown> {
  if (typeof input === 'object' && !(input instanceof URL)) return input;
  try {
    return JSON.parse(await readFile(input, 'utf8'));
  } catch (cause) {
    throw new WordmaskError(
      'E_USAGE',
      `${name} must be a JSON file or its content; ${show(String(input))} cannot be read: ${(cause as Error).message}`,
      { cause },
    );
  }
}
