/** CLIP as training reads it: texts packed behind one another against padded ones, bf16 against f32. */
import t from 'tap';
import { buildClip, type ClipConfig, randomClip } from '#lib/backbones/clip/index.js';
import { add, backward, gather, mul, scope, sum, Tensor } from '#lib/engine/index.js';
import { relL2, seeded } from '../helpers/samples.js';

const tower = { width: 64, layers: 2, heads: 2, ffn: 128, activation: 'gelu', eps: 1e-5 } as const;
const config: ClipConfig = {
  embed: 24,
  vision: { ...tower, imageSize: 32, patch: 8 },
  text: { ...tower, vocabulary: 50, positions: 12, eosTokenId: 49 },
};
const ends = Int32Array.of(3, 11, 0, 7);

/** Embeddings of texts and images, and the gradients of all parameters that have one. */
async function read(compute: 'f32' | 'bf16'): Promise<Map<string, Float32Array>> {
  const random = seeded('training');
  const ids = Int32Array.from({ length: ends.length * 12 }, () => Math.floor(random() * 50));
  const pixels = Float32Array.from({ length: 3 * 9 * 192 }, () => random() * 2 - 1);
  const places = Int32Array.from({ length: 27 }, (_, i) => (i % 9) + 3);
  const model = buildClip(config, randomClip(config, 5), { compute, trainable: true });
  const found = new Map<string, Float32Array>();
  await scope(async () => {
    const text = model.readText(Tensor.from(ids, [ends.length, 12]), ends);
    const tokens = model.embedSome(Tensor.from(pixels, [3, 9, 192]), Tensor.from(places, [3, 9]));
    const { image, patches } = model.readVision(tokens);
    const parts = { text, image, patches: patches as Tensor };
    const losses = Object.entries(parts).map(([name, x]) => {
      const draw = seeded(name);
      return sum(
        mul(
          x,
          Tensor.from(
            Float32Array.from({ length: x.size }, () => draw() * 2 - 1),
            x.shape,
          ),
        ),
      );
    });
    const grads = backward(losses.reduce((a, b) => add(a, b)));
    for (const [name, x] of Object.entries(parts)) found.set(name, (await x.data()) as Float32Array);
    for (const [name, parameter] of model.parameters) {
      const grad = grads.get(parameter);
      // A key's bias shifts all scores of a row alike: its gradient is rounding noise around zero.
      if (grad && !name.endsWith('k_proj.bias')) found.set(name, (await grad.data()) as Float32Array);
    }
  });
  model.dispose();
  return found;
}

t.test('bf16 against f32', async (t) => {
  const [found, want] = [await read('bf16'), await read('f32')];
  t.same([...found.keys()], [...want.keys()]);
  t.ok(want.size > 60, `${want.size} tensors`);
  for (const [name, values] of want) {
    const error = relL2(found.get(name) as Float32Array, values);
    t.ok(error <= 2e-2, `${name}: relL2 ${error.toExponential(2)} <= 2e-2`);
  }
});

t.test('packed texts against padded ones', async (t) => {
  const model = buildClip(config, randomClip(config, 5), { compute: 'f32', trainable: true });
  await scope(async () => {
    const ids = Tensor.from(
      Int32Array.from({ length: ends.length * 12 }, (_, i) => (i * 17) % 50),
      [ends.length, 12],
    );
    const packed = model.readText(ids, ends);
    const hidden = model.encodeTextTokens(ids).reshape(-1, config.text.width);
    const rows = Tensor.from(Int32Array.from(ends, (end, i) => i * 12 + end));
    const padded = model.projectText(gather(hidden, rows));
    const error = relL2((await packed.data()) as Float32Array, (await padded.data()) as Float32Array);
    t.ok(error < 1e-5, `relL2 ${error.toExponential(2)} < 1e-5`);
  });
  model.dispose();
});
