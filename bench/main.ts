/**
 * `npm run bench -- [ops|systems|all] [--threads 1,2] [--only name,...] [--seconds S] [--model DIR] [--save FILE]`
 * prints one JSON line a case.
 */
import { createWriteStream } from 'node:fs';
import { parseArgs } from 'node:util';
import { machine, print } from './harness.js';
import { benchOps } from './ops/ops.js';
import { benchSystems } from './systems/systems.js';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    threads: { type: 'string', default: '1,2' }, only: { type: 'string', default: '' }, seconds: { type: 'string', default: '0.3' },
    model: { type: 'string', default: '' }, save: { type: 'string', default: '' },
  },
});

if (values.save) {
  const file = createWriteStream(values.save);
  const write = process.stdout.write.bind(process.stdout);
  process.stdout.write = ((chunk: string) => file.write(chunk) && write(chunk)) as typeof process.stdout.write;
}
const what = positionals[0] ?? 'all';
const common = { threads: values.threads.split(',').map(Number), only: values.only.split(',').filter(Boolean), seconds: Number(values.seconds) };
print({ ...machine(), name: 'machine' });
if (what === 'ops' || what === 'all') await benchOps(common);
if (what === 'systems' || what === 'all') await benchSystems({ ...common, model: values.model });
