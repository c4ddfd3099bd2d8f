/** A process that trains the toy system: `node run-toy.js OUT RECIPE_JSON [BAD_SAVES_FROM]`, going on with what is there. */
import { registerTrainable, train } from '#lib/entry/train.js';
import { isWordmaskError } from '#lib/util/errors.js';
import { toySystem } from './toy.js';

registerTrainable('toy', toySystem());
const [out = '', recipe = '{}'] = process.argv.slice(2);
try {
  const result = await train(JSON.parse(recipe), {
    out,
    resume: true,
    onWarn: (message) => process.stderr.write(`${message}\n`),
    onProgress: ({ step }) => process.stdout.write(`${step}\n`),
  });
  process.stdout.write(`${result.status}\n`);
} catch (error) {
  process.stderr.write(`${isWordmaskError(error) ? error.code : 'bug'} ${(error as Error).message}\n`);
  process.exitCode = 1;
}
