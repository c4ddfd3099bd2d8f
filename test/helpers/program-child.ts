/** Runs one Program again and again on the emulated device while faults are asked of it; prints what came of each run. */
import { noGrad, onDevice, Program, resolveDevice, scope, Tensor } from '#lib/engine/index.js';
import { layer, noise, outputsOf } from './program-work.js';

const input = (seed: number) => Tensor.from(noise(seed, 168), [3, 7, 8]);

const wanted: Float32Array[][] = [];
const seen: string[] = [];
const same = (a: readonly Float32Array[], b: readonly Float32Array[]) =>
  a.every((values, i) => Buffer.compare(Buffer.from(values.buffer), Buffer.from((b[i] as Float32Array).buffer)) === 0);

const device = resolveDevice('simt');
await onDevice(device, () =>
  noGrad(async () => {
    const weights = layer.weights();
    for (let seed = 0; seed < 6; seed++) wanted.push(await scope(() => outputsOf(layer(weights, input(seed)))));
    const first = input(0);
    const { outputs, program } = Program.record('layer', [first], () => layer(weights, first));
    const runs = [() => outputs, ...[1, 2, 3, 4, 5].map((seed) => () => program?.run([input(seed)]))];
    for (const [i, run] of runs.entries()) {
      try {
        const values = await scope(() => outputsOf(run() as typeof outputs));
        seen.push(same(values, wanted[i] as Float32Array[]) ? 'right' : 'wrong');
      } catch (error) {
        seen.push(String((error as { code?: string }).code));
      }
    }
  }),
);
process.stdout.write(JSON.stringify(seen));
