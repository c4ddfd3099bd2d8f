/** The two terms on the value path: values against plain arithmetic, gradients against central differences in f64. */
import t from 'tap';
import { backward, requireGrad, scope, Tensor } from '#lib/engine/index.js';
import { nounPatch, valuePath } from '#lib/nn/losses/index.js';
import { Random } from '#lib/util/random.js';

const random = new Random(5);
const draw = (n: number) => Float64Array.from({ length: n }, () => random.normal());
const [B, K, E, Q] = [3, 5, 7, 4];
const unit = (rows: Float64Array) => {
  const out = rows.slice();
  for (let r = 0; r < rows.length / E; r++) {
    const row = out.subarray(r * E, (r + 1) * E);
    const norm = Math.hypot(...row);
    row.forEach((v, i) => (row[i] = v / norm));
  }
  return out;
};
const patches = unit(draw(B * K * E));
const nouns = draw(Q * E);
const named = Float64Array.from({ length: B * Q }, (_, i) => (i % 3 === 0 ? 1 : 0));
const values = { patches, nouns, text: draw(B * E), logScale: Float64Array.of(Math.log(8)), bias: Float64Array.of(-2) };
type Values = Record<keyof typeof values, Tensor>;
const shapes: Record<keyof typeof values, number[]> = {
  patches: [B, K, E],
  nouns: [Q, E],
  text: [B, E],
  logScale: [1],
  bias: [1],
};

function tensors(change?: [keyof typeof values, number, number]): Values {
  const entries = Object.entries(values).map(([name, data]) => {
    const copy = data.slice();
    if (change?.[0] === name) copy[change[1]] = (copy[change[1]] as number) + change[2];
    return [name, Tensor.from(copy, shapes[name as keyof typeof values], 'f64')];
  });
  return Object.fromEntries(entries) as Values;
}

const losses = {
  valuePath: (x: Values) => valuePath(x.patches, x.text, { logitScale: x.logScale }),
  nounPatch: (x: Values) =>
    nounPatch(x.patches, x.nouns, Tensor.from(named, [B, Q], 'f64'), { ...x, sharpness: 10, unnamedWeight: 0.3 }),
};

t.test('noun_patch against its formula', async (t) => {
  const words = unit(nouns);
  let sum = 0;
  for (let b = 0; b < B; b++) {
    for (let q = 0; q < Q; q++) {
      let mass = 0;
      for (let k = 0; k < K; k++) {
        let cosine = 0;
        for (let e = 0; e < E; e++) cosine += (patches[(b * K + k) * E + e] as number) * (words[q * E + e] as number);
        mass += Math.exp(10 * cosine) / K;
      }
      const z = 8 * (Math.log(mass) / 10) - 2;
      const y = named[b * Q + q] as number;
      const p = 1 / (1 + Math.exp(-z));
      sum -= y === 1 ? Math.log(p) : 0.3 * Math.log(1 - p);
    }
  }
  const found = await scope(() => losses.nounPatch(tensors()).item());
  t.ok(Math.abs(found - sum / B) < 1e-12, `${found} and ${sum / B}`);
});

for (const [name, loss] of Object.entries(losses)) {
  t.test(`${name}: gradients`, async (t) => {
    const grads = await scope(async () => {
      const x = tensors();
      for (const tensor of Object.values(x)) requireGrad(tensor);
      const found = backward(loss(x));
      return Promise.all(
        Object.entries(x).map(async ([key, tensor]) => [key, await found.get(tensor)?.data()] as const),
      );
    });
    for (const [key, grad] of grads) {
      if (!grad) continue;
      for (let i = 0; i < grad.length; i += 3) {
        const at = async (h: number) => scope(() => loss(tensors([key as keyof typeof values, i, h])).item());
        const slope = ((await at(1e-5)) - (await at(-1e-5))) / 2e-5;
        t.ok(Math.abs(slope - (grad[i] as number)) < 1e-7 * Math.max(1, Math.abs(slope)), `${key}[${i}]`);
      }
    }
  });
}
