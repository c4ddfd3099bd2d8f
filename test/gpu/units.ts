/** The units of the test and the process that runs them: one after another, saying when each begins and what came of it. */
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { onDevice, sync } from '#lib/engine/index.js';
import { WordmaskError } from '#lib/util/errors.js';
import type { Spoken } from '../../bench/gpu/processes.js';
import { cardUnits } from './cards.js';
import { Counter, type Counts, type Unit } from './counter.js';
import { sanitizerUnits } from './sanitizer.js';
import { systemUnits } from './systems.js';

export interface UnitRequest {
  readonly ids: readonly string[];
  readonly device: string;
  /** Tiers of the cards; a device without one runs the next lower. */
  readonly tiers: readonly number[];
  readonly only: readonly string[];
  readonly smallest: boolean;
}

const main = fileURLToPath(new URL('main.js', import.meta.url));

export function allUnits(request: UnitRequest): Unit[] {
  const cards = cardUnits(request);
  const names = cards.map(({ id }) => id);
  return [...cards, ...systemUnits(request.device), ...sanitizerUnits(main, request, names)];
}

const say = (spoken: Spoken<Counts>): void => void process.stdout.write(`${JSON.stringify(spoken)}\n`);

export async function work(): Promise<void> {
  const { value } = await createInterface({ input: process.stdin })[Symbol.asyncIterator]().next();
  const request = JSON.parse(value as string) as UnitRequest;
  const units = new Map(allUnits(request).map((unit) => [unit.id, unit]));
  for (const id of request.ids) {
    say({ begins: id });
    const counter = new Counter();
    try {
      await (units.get(id) as Unit).run(counter);
    } catch (error) {
      counter.ok(false, error instanceof Error ? error.message : String(error));
    }
    say({ id, ...counter.counts() });
    if (await lost(request.device)) process.exit(1);
  }
  process.exit(0);
}

/** Nothing works on a lost device any more: what is left needs another process. */
async function lost(device: string): Promise<boolean> {
  try {
    await onDevice(device, () => sync());
    return false;
  } catch (error) {
    return error instanceof WordmaskError && error.code === 'E_DEVICE_LOST';
  }
}
