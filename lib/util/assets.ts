/** Data files that are published with the package (assets/), found from this module's own place. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { WordmaskError } from './errors.js';

const root = new URL('../../assets/', import.meta.url);

/** Absolute path of a file below assets/, e.g. `classes/voc21.json`. */
export function assetPath(name: string): string {
  return fileURLToPath(new URL(name, root));
}

/**
 * Reads a JSON file below assets/. Synchronous: the files are small (the largest has 85 KB) and read once.
 * @throws E_INTERNAL when the installation is damaged
 */
export function readAssetJson<T>(name: string): T {
  try {
    return JSON.parse(readFileSync(assetPath(name), 'utf8')) as T;
  } catch (cause) {
    throw new WordmaskError('E_INTERNAL', `the package's own file assets/${name} cannot be read: reinstall wordmask`, {
      cause,
      details: { file: name },
    });
  }
}
