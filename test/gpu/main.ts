/**
 * `npm run test:gpu -- [cards|systems|sanitizer ...] [--device cuda:0] [--only op,...] [--tiers 1,2,3] [--smallest]`: everything on a GPU
 * against the CPU. Needs a driver, Node, `dist/` and `build/`; no test framework, no compiler. Ends with `N passed, N failed`.
 */
import { parseArgs } from 'node:util';
import * as binding from '#lib/binding/addon.js';
import { checkCards } from './cards.js';
import { Counter } from './counter.js';
import { checkSanitizer } from './sanitizer.js';
import { checkSystems } from './systems.js';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    device: { type: 'string', default: 'cuda:0' },
    only: { type: 'string', default: '' },
    tiers: { type: 'string', default: '1,2,3' },
    smallest: { type: 'boolean', default: false },
  },
});
const kind = values.device.split(':', 1)[0] as string;
const report = binding.addon().backendReport(kind, binding.binaryFolder ?? '');
if (!report.usable) {
  console.error(`no device to test: ${report.reason}; ${report.remedy}`);
  process.exit(1);
}
const parts = positionals.length > 0 ? positionals : ['cards', 'systems', 'sanitizer'];
const counter = new Counter();
const only = values.only.split(',').filter(Boolean);
const tiers = values.tiers.split(',').map(Number);
if (parts.includes('cards'))
  await checkCards(counter, { device: values.device, tiers, only, smallest: values.smallest });
if (parts.includes('systems')) await checkSystems(counter, values.device);
if (parts.includes('sanitizer')) await checkSanitizer(counter, values.device);
console.log(counter.line());
process.exit(counter.failed > 0 || counter.passed === 0 ? 1 : 0);
