/**
 * `npm run bench -- [ops|systems|compare|profile|train-step|mgca-step|drawn-scenes|all] [--threads 1,2] [--only name,...] [--seconds S] [--model DIR] [--rounds N]
 * [--batch 1,8] [--device cuda:0] [--profile] [--save FILE]` prints one JSON line a case. `--save` appends where another part has begun the file.
 * `--device` is for ops and systems; `npm run bench:gpu` has the cases and targets of devices.
 */
import { createWriteStream, existsSync, statSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { resolveDevice } from '#lib/engine/index.js';
import { machine, print } from './harness.js';
import { benchOps } from './ops/ops.js';
import { benchCompare } from './systems/compare.js';
import { benchDrawnScenes } from './systems/drawn-scenes.js';
import { benchMgcaStep } from './systems/mgca-step.js';
import { benchProfile } from './systems/profile.js';
import { benchSystems } from './systems/systems.js';
import { benchTrainStep } from './systems/train-step.js';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    threads: { type: 'string', default: '1,2' },
    only: { type: 'string', default: '' },
    seconds: { type: 'string', default: '0.3' },
    model: { type: 'string', default: '' },
    rounds: { type: 'string', default: '9' },
    batch: { type: 'string', default: '' },
    profile: { type: 'boolean', default: false },
    save: { type: 'string', default: '' },
    device: { type: 'string', default: 'cpu' },
  },
});

// The machine's line comes first in a file, once.
const continued = values.save !== '' && existsSync(values.save) && statSync(values.save).size > 0;
if (continued) print({ ...machine(), name: 'machine' });
if (values.save) {
  const file = createWriteStream(values.save, { flags: 'a' });
  const write = process.stdout.write.bind(process.stdout);
  process.stdout.write = ((chunk: string) => file.write(chunk) && write(chunk)) as typeof process.stdout.write;
}
if (!continued) print({ ...machine(), name: 'machine' });
const numbers = (list: string) => list.split(',').map(Number);
const what = positionals[0] ?? 'all';
const common = {
  threads: numbers(values.threads),
  only: values.only.split(',').filter(Boolean),
  seconds: Number(values.seconds),
  device: resolveDevice(values.device),
};
if (what === 'ops' || what === 'all') await benchOps(common);
if (what === 'compare' || what === 'all')
  await benchCompare({
    ...common,
    model: values.model,
    rounds: Number(values.rounds),
    batches: numbers(values.batch || '1,8'),
  });
if (what === 'systems' || what === 'all') await benchSystems({ ...common, model: values.model });
if (what === 'drawn-scenes' || what === 'all') await benchDrawnScenes(common);
if (what === 'profile') await benchProfile({ ...common, model: values.model });
if (what === 'mgca-step')
  await benchMgcaStep({
    ...common,
    model: values.model,
    rounds: Number(values.rounds),
    batch: Number(values.batch || 16),
  });
if (what === 'train-step')
  await benchTrainStep({ ...common, batch: Number(values.batch || 128), profile: values.profile });
