/** Drawn training scenes a second: plan, display list and drawing together, as the trainer asks for them. */
import { drawScenes, splitSeeds } from '#lib/data/drawn-scenes/index.js';
import { setThreads } from '#lib/engine/index.js';
import { print, time } from '../harness.js';

const batch = 128;

export async function benchDrawnScenes(options: { threads: readonly number[]; seconds: number }): Promise<void> {
  for (const size of [96, 64]) {
    for (const threads of options.threads) {
      setThreads(threads);
      let begin = 0;
      const next = (): Promise<unknown> => {
        begin += batch;
        return drawScenes(splitSeeds('train', batch, begin), { size });
      };
      const cpu = process.cpuUsage();
      const started = begin;
      // Two batches under way: one is planned while the other is drawn.
      const taken = await time(async () => void (await Promise.all([next(), next()])), {
        seconds: Math.max(1, options.seconds),
        least: 5,
      });
      const { user, system } = process.cpuUsage(cpu);
      print({
        name: 'drawn_scenes',
        case: `${size}x${size}, two batches of ${batch}`,
        threads,
        device: 'cpu',
        median_ms: taken.median,
        best_ms: taken.best,
        runs: taken.runs,
        'scenes/s': (1000 * 2 * batch) / taken.median,
        'cpu ms/scene': (user + system) / 1000 / (begin - started),
      });
    }
  }
}
