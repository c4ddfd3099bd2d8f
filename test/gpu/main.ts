/**
 * `npm run test:gpu -- [cards|systems|sanitizer ...] [--device cuda:0] [--only op,...] [--tiers 1,2,3] [--smallest] [--checks memcheck]
 * [--limit SECONDS]`:
 * everything on a GPU against the CPU. Needs a driver, Node, `dist/` and `build/`; no test framework, no compiler. The parts run in
 * processes of their own: one that fails, dies or takes longer than the limit costs itself alone. Ends with `N passed, N failed`.
 */
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import * as binding from '#lib/binding/addon.js';
import { inProcesses } from '../../bench/gpu/processes.js';
import type { Counts } from './counter.js';
import { allUnits, work } from './units.js';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    device: { type: 'string', default: 'cuda:0' },
    only: { type: 'string', default: '' },
    tiers: { type: 'string', default: '1,2,3' },
    smallest: { type: 'boolean', default: false },
    checks: { type: 'string', default: '' },
    limit: { type: 'string', default: '600' },
    worker: { type: 'boolean', default: false },
  },
});

async function main(): Promise<number> {
  const kind = values.device.split(':', 1)[0] as string;
  const report = binding.addon().backendReport(kind, binding.binaryFolder ?? '');
  if (!report.usable) {
    console.error(`no device to test: ${report.reason}; ${report.remedy}`);
    return 1;
  }
  const request = {
    ids: [] as string[],
    device: values.device,
    tiers: values.tiers.split(',').map(Number),
    only: values.only.split(',').filter(Boolean),
    smallest: values.smallest,
  };
  const parts = positionals.length > 0 ? positionals : ['cards', 'systems', 'sanitizer'];
  request.ids = allUnits(request)
    .map(({ id }) => id)
    .filter((id) => parts.includes(id.split(':', 1)[0] as string))
    .filter((id) => !id.startsWith('sanitizer') || id.includes(values.checks));
  let [passed, failed, skipped] = [0, 0, 0];
  await inProcesses<Counts>(fileURLToPath(import.meta.url), request, {
    limitMs: Number(values.limit) * 1000,
    over: () => false,
    outcome: (answer) => {
      const counts = 'error' in answer ? { passed: 0, failures: [answer.error], skipped: [] } : answer;
      passed += counts.passed;
      failed += counts.failures.length;
      skipped += counts.skipped.length;
      for (const failure of counts.failures) if (failure) console.error(`failed: ${answer.id}: ${failure}`);
      for (const reason of counts.skipped) console.error(`skipped: ${answer.id}: ${reason}`);
      console.log(`${counts.failures.length > 0 ? 'FAIL' : 'ok  '} ${answer.id}  ${counts.passed} passed`);
    },
  });
  console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`);
  return failed > 0 || passed === 0 ? 1 : 0;
}

if (values.worker) await work();
else process.exitCode = await main();
