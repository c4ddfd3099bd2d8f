/** Version of the package, read once from its package.json. */
import { readFileSync } from 'node:fs';

export const packageVersion: string = (
  JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string }
).version;
