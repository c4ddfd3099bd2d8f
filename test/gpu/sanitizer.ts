/** The toolkit's own checkers over the smallest sample of every card, where compute-sanitizer is installed. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Counter } from './counter.js';

const main = fileURLToPath(new URL('main.js', import.meta.url));

function run(tool: string, tier: number, device: string): { status: number | null; output: string } {
  const { status, stdout, stderr } = spawnSync(
    'compute-sanitizer',
    // Node's own threads never touch the device; its children might.
    ['--tool', tool, '--target-processes', 'application-only', '--error-exitcode', '9', process.execPath, main].concat([
      ...['cards', '--smallest', '--tiers', String(tier), '--device', device],
    ]),
    { encoding: 'utf8', maxBuffer: 1 << 28 },
  );
  return { status, output: `${stdout}${stderr}` };
}

/** memcheck and racecheck over the portable tier, and over the tensor core tiers. */
export async function checkSanitizer(counter: Counter, device: string): Promise<void> {
  const there = spawnSync('compute-sanitizer', ['--version']).status === 0;
  for (const tool of ['memcheck', 'racecheck'])
    for (const tier of [1, 2, 3])
      await counter.part(`compute-sanitizer ${tool}, tier ${tier}`, () => {
        if (!there) return counter.skip('compute-sanitizer is not on PATH (it comes with the CUDA toolkit)');
        const { status, output } = run(tool, tier, device);
        counter.equal(status, 0, output.split('\n').slice(-12).join('\n'));
      });
}
