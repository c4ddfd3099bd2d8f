/** The toolkit's own checkers over the smallest sample of every card, where compute-sanitizer is installed. */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import type { Counter, Counts, Unit } from './counter.js';
import type { UnitRequest } from './units.js';

const places = ['compute-sanitizer', '/usr/local/cuda/bin/compute-sanitizer'];
const limitMs = 600_000;

function find(): string | undefined {
  return places.find((place) =>
    place.startsWith('/') ? existsSync(place) : spawnSync(place, ['--version']).status === 0,
  );
}

/** memcheck and racecheck over the portable tier, and over the tensor core tiers. */
export function sanitizerUnits(main: string, request: UnitRequest, cards: readonly string[]): Unit[] {
  return ['memcheck', 'racecheck'].flatMap((tool) =>
    // The tensor core kernels first: they are the ones that only a device runs.
    [...request.tiers].reverse().map((tier) => ({
      id: `sanitizer: ${tool}, tier ${tier}`,
      run: (counter) => check(counter, tool, main, { ...request, ids: cards, tiers: [tier], smallest: true }),
    })),
  );
}

function check(counter: Counter, tool: string, main: string, request: UnitRequest): void {
  const command = find();
  if (!command) {
    counter.skip('compute-sanitizer is not installed (it comes with the CUDA toolkit)');
    return;
  }
  // Node's own threads never touch the device; its children might.
  const options = ['--tool', tool, '--target-processes', 'application-only', '--error-exitcode', '9'];
  const { status, signal, stdout, stderr } = spawnSync(command, [...options, process.execPath, main, '--worker'], {
    input: `${JSON.stringify(request)}\n`,
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    timeout: limitMs,
  });
  const lines = stdout.split('\n');
  for (const line of lines.filter((line) => line.startsWith('{"id"'))) {
    const { id, passed, failures } = JSON.parse(line) as { id: string } & Counts;
    counter.passed += passed;
    for (const failure of failures) counter.ok(false, `${id}: ${failure}`);
  }
  const said = [...lines.filter((line) => line.startsWith('=')), ...stderr.split('\n')].slice(0, 12).join(' / ');
  counter.equal(status ?? signal, 0, said);
}
