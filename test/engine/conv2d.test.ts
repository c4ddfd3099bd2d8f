/** Convolutions of more pictures than are copied at once: groups change no bit, and memory stays bounded. */
import t from 'tap';
import {
  backward,
  concat,
  conv2d,
  memory,
  randomNormal,
  requireGrad,
  resetPeakMemory,
  scope,
  sync,
  type Tensor,
  trimMemory,
} from '#lib/engine/index.js';

const values = async (x: Tensor | undefined) => (await (x as Tensor).data()) as Float32Array;

t.test('groups of pictures', async (t) => {
  // 12 MiB a picture with its border, of which 32 MiB are taken at once.
  const shape = [1, 54, 54, 1000];
  const pictures = [1, 2, 3].map((seed) => randomNormal(shape, { seed }));
  const weight = requireGrad(randomNormal([3, 1000, 3, 3], { seed: 9 }));
  const run = async (x: Tensor) => {
    const leaf = requireGrad(x.detach());
    const out = conv2d(leaf, weight, { padding: 1 });
    const grads = backward(out, { wrt: [leaf, weight], grad: out.detach() });
    return { out: await values(out), dx: await values(grads.get(leaf)), dweight: await values(grads.get(weight)) };
  };
  const single = await Promise.all(pictures.map((x) => scope(() => run(x))));
  const joined = concat(pictures, 0);
  await sync();
  trimMemory();
  const before = memory().cpu?.liveBytes ?? 0;
  resetPeakMemory();
  const whole = await scope(() => run(joined));
  const peak = (memory().cpu?.peakBytes ?? 0) - before;
  for (const name of ['out', 'dx'] as const) {
    const length = whole[name].length / pictures.length;
    const equal = single.every((each, i) =>
      Buffer.from(each[name].buffer).equals(Buffer.from(whole[name].buffer, i * length * 4, length * 4)),
    );
    t.ok(equal, `${name}: the bits of single pictures`);
  }
  const error = whole.dweight.reduce(
    (worst, x, i) => Math.max(worst, Math.abs(x - single.reduce((sum, each) => sum + (each.dweight[i] as number), 0))),
    0,
  );
  const scale = whole.dweight.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
  t.ok(error < 1e-5 * scale, `gradient of the weight: ${(error / scale).toExponential(1)}`);
  const unfolded = joined.size * 9 * 4;
  t.ok(peak < 160e6 && peak < unfolded / 2, `${peak} bytes; unfolded pictures would take ${unfolded}`);
});
