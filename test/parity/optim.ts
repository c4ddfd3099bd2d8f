/**
 * Optimisers, losses and schedules against PyTorch. By hand:
 *     python test/parity/optim_reference.py OUT.safetensors && node build/ts/test/parity/optim.js OUT.safetensors
 * Prints a line a value: relative L2 and the limit; exit code 1 where one is over.
 */
import { requireGrad, scope, Tensor } from '#lib/engine/index.js';
import * as losses from '#lib/nn/losses/index.js';
import { AdamW, clipGradNorm, Muon, type Optimiser, Sgd } from '#lib/nn/optim/index.js';
import { cosineRate, polyRate } from '#lib/nn/schedule.js';
import { loadAll } from '../helpers/data.js';
import { relL2 } from '../helpers/samples.js';

const file = await loadAll(process.argv[2] as string);
function read(name: string): Tensor {
  const { data, shape } = file.get(name) as { data: Float32Array; shape: number[] };
  return Tensor.from(data, shape);
}
const names = ['weight', 'wide', 'bias', 'gate'];
const steps = 10;

async function report(name: string, actual: ArrayLike<number>, expected: Tensor, limit: number): Promise<void> {
  const error = relL2(Float64Array.from(actual), Float64Array.from((await expected.data()) as Float32Array));
  const over = !(error <= limit);
  if (over) process.exitCode = 1;
  process.stdout.write(`${over ? 'OVER' : 'ok  '} ${name}: ${error.toExponential(2)} (limit ${limit})\n`);
}

/** Muon is judged by the way it moved: behind the start an error of the step would not show. */
const kinds: Record<string, { make(p: Map<string, Tensor>): Optimiser; limit: number }> = {
  adamw: {
    make: (p) => new AdamW(p, { lr: 1e-2, betas: [0.9, 0.98], eps: 1e-6, decay: 0.05 }),
    limit: 1e-6,
  },
  sgd: { make: (p) => new Sgd(p, { lr: 0.05, momentum: 0.9, decay: 0.01 }), limit: 1e-6 },
  nesterov: { make: (p) => new Sgd(p, { lr: 0.05, momentum: 0.9, decay: 0.01, nesterov: true }), limit: 1e-6 },
  muon: {
    make: (p) => new Muon(p, { lr: 1e-2, match: ['weight', 'wide'], decay: 0.1, compute: 'f32', rest: { lr: 1e-9 } }),
    // PyTorch's products are bf16.
    limit: 5e-2,
  },
};

for (const [kind, { make, limit }] of Object.entries(kinds)) {
  const start = new Map<string, Float32Array>();
  for (const name of names) start.set(name, (await read(`start.${name}`).data()) as Float32Array);
  const parameters = new Map(
    names.map((name) => [name, requireGrad(Tensor.from(start.get(name) as Float32Array, read(`start.${name}`).shape))]),
  );
  const optimiser = make(parameters);
  for (let step = 0; step < steps; step++)
    scope(() => optimiser.step(new Map(names.map((name) => [name, read(`grad.${step}.${name}`)]))));
  for (const name of kind === 'muon' ? ['weight', 'wide'] : names) {
    const values = (await (parameters.get(name) as Tensor).data()) as Float32Array;
    if (kind !== 'muon') {
      await report(`${kind} ${name}`, values, read(`${kind}.${name}`), limit);
      continue;
    }
    const from = start.get(name) as Float32Array;
    const end = (await read(`${kind}.${name}`).data()) as Float32Array;
    const moved = Tensor.from(end.map((x, i) => x - (from[i] as number)));
    await report(
      `${kind} ${name}, way moved`,
      values.map((x, i) => x - (from[i] as number)),
      moved,
      limit,
    );
  }
}

const first = new Map(names.map((name) => [name, read(`grad.0.${name}`)]));
await report('norm', [(await clipGradNorm(first, first)).norm], read('norm'), 1e-6);

const [z, t, a, b, y] = ['z', 't', 'a', 'b', 'y'].map((name) => read(`loss.input.${name}`)) as Tensor[] as [
  Tensor,
  Tensor,
  Tensor,
  Tensor,
  Tensor,
];
const found: Record<string, Tensor> = {
  binaryCrossEntropy: losses.binaryCrossEntropy(z, y, { positive: 3 }),
  smoothL1: losses.smoothL1(z, t, { beta: 0.7 }),
  kullbackLeibler: losses.kullbackLeibler(z, t, { temperature: 2 }),
  triplet: losses.triplet(a, b, t, { margin: 0.5 }),
  infoNce: losses.infoNce(a, b, { temperature: 0.07 }),
};
for (const [name, loss] of Object.entries(found)) await report(name, [await loss.item()], read(`loss.${name}`), 1e-6);

const rates = (rate: (step: number) => number) => Array.from({ length: 91 }, (_, step) => rate(step));
await report(
  'cosine',
  rates((step) => cosineRate(step, { lr: 2, steps: 90, floor: 0.5 })),
  read('cosine'),
  1e-6,
);
await report(
  'poly',
  rates((step) => polyRate(step, { lr: 2, steps: 90 })),
  read('poly'),
  1e-6,
);
