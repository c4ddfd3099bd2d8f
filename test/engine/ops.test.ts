/**
 * Every op card, every sample: kernel against reference, strided inputs, thread counts, gradients against central
 * differences of the reference in f64. Arguments (or WORDMASK_OPS) name the ops to run alone.
 */
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { addon } from '#lib/binding/addon.js';
import {
  type Attrs,
  backward,
  type DType,
  getThreads,
  type OpCard,
  opCards,
  type RefArray,
  requireGrad,
  run,
  type Sample,
  scope,
  setThreads,
  sumTo,
  sync,
  Tensor,
} from '#lib/engine/index.js';
import { type OpCase, writeCases } from '../helpers/case-writer.js';
import { check, limitOf, outputsOf, type Prepared, prepare } from '../helpers/op-checks.js';
import { relL2, seeded } from '../helpers/samples.js';

const only = (process.env.WORDMASK_OPS ?? process.argv.slice(2).join(',')).split(',').filter(Boolean);

/** The sample for the native runner, which the sanitizer builds use. */
function nativeCase(
  card: OpCard,
  sample: Sample,
  float: DType,
  made: Prepared['made'],
  outputs: { dtype: DType }[],
  expected: readonly RefArray[],
): OpCase {
  return {
    title: `${card.name} ${sample.name} ${float}`,
    op: card.name,
    attrs: Object.values({ ...card.attrs, ...sample.attrs }).map(Number),
    inputs: made.map((m) => m && { dtype: m.dtype, shape: m.ref.shape, data: m.host }),
    outputs: expected.map(({ shape, data }, i) => {
      const { dtype } = outputs[i] as { dtype: DType };
      return { dtype, shape, tolerance: limitOf(card, float, dtype), expected: data };
    }),
  };
}

function named(op: string, ...inputs: Tensor[]): Tensor {
  return run(opCards().get(op) as OpCard, inputs)[0] as Tensor;
}

async function checkGradients(t: Test, card: OpCard, sample: Sample): Promise<void> {
  const attrs = { ...card.attrs, ...sample.attrs } as Attrs;
  const { refs, make } = prepare(card, sample, 'f64');
  const inputs = make(false);
  const differentiable = inputs.map((x, i) => x?.dtype === 'f64' && sample.inputs[i]?.grad !== false);
  inputs.forEach((x, i) => differentiable[i] && requireGrad(x as Tensor));
  const weights = card.reference(refs, attrs).map((out, i) => {
    const random = seeded(`${card.name}/${sample.name}/weights${i}`);
    return Float64Array.from(out.data, () => random() * 2 - 1);
  });
  const outputs = run(card, inputs, sample.attrs);
  const used = outputs.map((out) => out.dtype === 'f64');
  let loss: Tensor | undefined;
  outputs.forEach((out, i) => {
    if (!used[i]) return;
    const term = sumTo(named('mul', out, Tensor.from(weights[i] as Float64Array, out.shape)), []);
    loss = loss ? named('add', loss, term) : term;
  });
  const value = (perturbed: (RefArray | undefined)[]) =>
    card
      .reference(perturbed, attrs)
      .reduce(
        (total, out, i) =>
          used[i]
            ? total + out.data.reduce((s, x, j) => s + x * ((weights[i] as Float64Array)[j] as number), 0)
            : total,
        0,
      );
  if (!loss?.requiresGrad) return;
  const grads = backward(loss);
  for (const [i, input] of inputs.entries()) {
    if (!input || !differentiable[i] || input.size === 0) continue;
    const grad = grads.get(input);
    const analytic = grad ? ((await grad.data()) as Float64Array) : new Float64Array(input.size);
    const random = seeded(`${card.name}/${sample.name}/entries${i}`);
    const picks =
      input.size <= 24 ? [...analytic.keys()] : Array.from({ length: 24 }, () => Math.floor(random() * input.size));
    const numeric = picks.map((at) => {
      const shifted = (h: number) =>
        refs.map((ref, j) => (j === i && ref ? { ...ref, data: ref.data.map((x, k) => (k === at ? x + h : x)) } : ref));
      const h = 1e-5;
      return (value(shifted(h)) - value(shifted(-h))) / (2 * h);
    });
    const error = relL2(
      picks.map((at) => analytic[at] as number),
      numeric,
    );
    const scale = Math.max(...analytic.map(Math.abs));
    // Where the gradient is zero in theory both sides are rounding noise of about 1e-10.
    t.ok(
      error <= 1e-6 || scale < 1e-8,
      `${sample.name}: gradient of input ${i} relative error ${error.toExponential(2)}`,
    );
  }
}

for (const card of [...opCards().values()] as OpCard[]) {
  if (card.composite || (only.length > 0 && !only.includes(card.name))) continue;
  t.test(card.name, async (t) => {
    t.ok(card.samples.length > 0, 'has samples');
    const cases: OpCase[] = [];
    for (const sample of card.samples) {
      const attrs = { ...card.attrs, ...sample.attrs } as Attrs;
      for (const float of sample.dtypes ?? (['f32', 'f64'] as DType[])) {
        await scope(async () => {
          const { refs, made, make } = prepare(card, sample, float);
          const expected = card.reference(refs, attrs);
          setThreads(2);
          const plain = await outputsOf(card, make(false), sample.attrs ?? {});
          cases.push(nativeCase(card, sample, float, made, plain, expected));
          check(t, card, `${sample.name} ${float}`, float, plain, expected);
          if (!card.inPlace)
            check(
              t,
              card,
              `${sample.name} ${float} strided`,
              float,
              await outputsOf(card, make(true), sample.attrs ?? {}),
              expected,
            );
          for (const threads of [1, 3]) {
            setThreads(threads);
            const again = await outputsOf(card, make(false), sample.attrs ?? {});
            t.ok(
              again.every((out, i) => Buffer.compare(out.bytes, (plain[i] as (typeof plain)[0]).bytes) === 0),
              `${sample.name} ${float}: same bytes with ${threads} threads`,
            );
          }
        });
      }
      if (card.grad && sample.grad !== false && (sample.dtypes ?? ['f64']).includes('f64'))
        await scope(() => checkGradients(t, card, sample));
    }
    writeCases(fileURLToPath(new URL(`../../../cases/${card.name}.bin`, import.meta.url)), cases);
    setThreads(2);
    await sync();
  });
}

t.test('cards and kernels match', async (t) => {
  const kernels = new Set(addon().ops());
  const cards = [...opCards().values()].filter((card) => !card.composite);
  t.same(
    cards.map((card) => card.name).filter((name) => !kernels.has(name)),
    [],
    'every card has a CPU kernel',
  );
  t.same(
    [...kernels].filter((name) => !opCards().has(name)),
    [],
    'every CPU kernel has a card',
  );
  t.ok(getThreads() >= 1);
});
