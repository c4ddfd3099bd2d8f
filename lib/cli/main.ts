#!/usr/bin/env node
/** The `wordmask` command. Nothing heavy is loaded before a command runs: `--version` and `--help` answer at once. */
import { readFileSync } from 'node:fs';

const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
  version: string;
};
const args = process.argv.slice(2);

if (args.length === 1 && args[0] === '--version') {
  process.stdout.write(`${version}\n`);
} else {
  import('./run.js').then(({ runCommandLine }) => runCommandLine(args, version));
}
