/** CLIP from captions: batches, the read-out of training against the whole forward pass, gradients, files, refusals. */
import { createHash } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { buildClip, parseClipConfig, randomClip } from '#lib/backbones/clip/index.js';
import { adopt, assign, backward, noGrad, retain, scope, Tensor } from '#lib/engine/index.js';
import type { HostBatch, Trainable } from '#lib/nn/trainable.js';
import { loadBackbone } from '#lib/registry/backbones.js';
import { trainClip } from '#lib/systems/clip/train.js';
import { Random } from '#lib/util/random.js';
import { writeSafetensors } from '#lib/weights/index.js';
import { captionPair, stepContext, toyRequest } from '../helpers/caption-pairs.js';
import { maxError } from '../helpers/data.js';

const pairs = (count: number, side = 24) => Array.from({ length: count }, (_, i) => captionPair(i, side));
const config = parseClipConfig('config.json', {
  model_type: 'clip',
  projection_dim: 24,
  vision_config: {
    ...{ hidden_size: 32, intermediate_size: 64, num_hidden_layers: 3, num_attention_heads: 2 },
    ...{ image_size: 24, patch_size: 8, hidden_act: 'gelu' },
  },
  text_config: {
    ...{ hidden_size: 32, intermediate_size: 64, num_hidden_layers: 2, num_attention_heads: 2, hidden_act: 'gelu' },
    ...{ vocab_size: 50, max_position_embeddings: 12, eos_token_id: 49 },
  },
});

t.test('random start: a function of config and seed', async (t) => {
  const read = async (seed: number) => {
    const hash = createHash('sha256');
    for (const tensor of randomClip(config, seed).values()) hash.update(await tensor.data());
    return hash.digest('hex');
  };
  const [a, b, c] = [await read(1), await read(1), await read(2)];
  t.equal(a, b);
  t.not(a, c);
});

t.test('what training reads equals the whole forward pass', async (t) => {
  const model = buildClip(config, randomClip(config, 1), { compute: 'f32', trainable: true });
  t.teardown(() => model.dispose());
  const random = new Random(1);
  const rows = Tensor.from(
    Float32Array.from({ length: 2 * 9 * 192 }, () => random.normal()),
    [2, 9, 192],
  );
  const every = Tensor.from(
    Int32Array.from({ length: 18 }, (_, i) => i % 9),
    [2, 9],
  );
  const ids = Tensor.from(
    Int32Array.from({ length: 3 * 8 }, () => random.int(48)),
    [3, 8],
  );
  const ends = Int32Array.of(7, 2, 5);
  const found = await scope(async () => {
    let before: Tensor | undefined;
    const hidden = model.visionBlocks(
      model.embedPatches(rows, [3, 3]),
      [3, 3],
      {},
      {
        hidden: (i, x) => void (i === 2 && (before = retain(x))),
      },
    );
    adopt(before as Tensor);
    const dense = model.visionBlocks(model.embedPatches(rows, [3, 3]), [3, 3], {
      attention: 'v',
      residual: false,
      ffn: false,
    });
    const { image, patches } = model.readVision(model.embedSome(rows, every));
    const text = model.encodeTextTokens(ids);
    const want = [model.project(hidden.select(1, 0)), model.project(dense.slice(1, 1)), model.projectText(text)];
    const got = [image, patches as Tensor, model.readText(ids, ends)];
    return Promise.all([...want, ...got].map((tensor) => tensor.data()));
  });
  t.ok(maxError(found[3] as Float32Array, found[0] as Float32Array) < 1e-5, 'class token');
  t.ok(maxError(found[4] as Float32Array, found[1] as Float32Array) < 1e-5, 'value path');
  const rowsOfText = [...ends].flatMap((end, i) => [
    ...(found[2] as Float32Array).subarray((i * 8 + end) * 24, (i * 8 + end + 1) * 24),
  ]);
  t.ok(maxError(found[5] as Float32Array, rowsOfText) < 1e-5, 'end tokens');
});

t.test('batches: patches of the picture, the same for the same step, all patches at the end', async (t) => {
  const model = await trainClip(toyRequest());
  t.teardown(() => model.dispose());
  const batch = await model.prepare(pairs(4), stepContext(3, 10));
  const bytes = ({ rows, places }: HostBatch) =>
    Buffer.concat([rows, places].map((x) => new Uint8Array(x?.data.buffer as ArrayBuffer)));
  t.ok(bytes(batch).equals(bytes(await model.prepare(pairs(4), stepContext(3, 10)))));
  t.notOk(bytes(batch).equals(bytes(await model.prepare(pairs(4), stepContext(4, 10)))));
  t.same(batch.rows?.shape, [4, 6, 192]);
  t.same((await model.prepare(pairs(4), stepContext(9, 10))).rows?.shape, [4, 9, 192]);
  const [places, rows] = [batch.places?.data as Int32Array, batch.rows?.data as Float32Array];
  const pixels = captionPair(2, 24).image.data;
  for (let k = 0; k < 6; k++) {
    const place = places[2 * 6 + k] as number;
    const [y, x] = [Math.floor(place / 3) * 8 + 5, (place % 3) * 8 + 6];
    const want = ((pixels[(y * 24 + x) * 3 + 1] as number) / 255 - 0.4578275) / 0.26130258;
    t.ok(Math.abs((rows[(2 * 6 + k) * 192 + 64 + 5 * 8 + 6] as number) - want) < 1e-6);
  }
  t.same((await model.prepare(pairs(2, 40), stepContext(0, 10))).rows?.shape, [2, 6, 192], 'other sizes are cropped');
  const narrow = await model.prepare(pairs(4), stepContext(3, 10, 'bf16'));
  const bits = new Uint32Array(Float32Array.from(rows).buffer);
  const patterns = narrow.rows?.data as Uint16Array;
  t.ok(
    patterns.every((value, i) => Math.abs(value - (bits[i] as number) / 65536) <= 0.5),
    'bf16 is the nearest',
  );
});

async function step(
  model: Trainable,
  samples: number,
  at = 0,
): Promise<{ loss: number; grads: Map<string, Float32Array> }> {
  const context = stepContext(at, 10);
  const batch = (await model.prepare(pairs(samples), context)) as HostBatch;
  return scope(async () => {
    const { total } = model.losses(batch, context);
    const found = backward(total);
    const grads = new Map<string, Float32Array>();
    for (const [name, tensor] of model.parameters) grads.set(name, (await found.get(tensor)?.data()) as Float32Array);
    return { loss: await total.item(), grads };
  });
}

t.test('gradient of the whole loss along itself, every parameter has one', async (t) => {
  const model = await trainClip(toyRequest());
  t.teardown(() => model.dispose());
  const { grads } = await step(model, 5);
  let slope = 0;
  for (const [name, grad] of grads) {
    t.ok(grad?.every(Number.isFinite), name);
    slope += grad.reduce((sum, g) => sum + g * g, 0);
  }
  const move = async (h: number) => {
    for (const [name, tensor] of model.parameters) {
      const grad = grads.get(name) as Float32Array;
      const now = await tensor.data();
      const moved = Float32Array.from(grad, (g, i) => (now[i] as number) + h * g);
      noGrad(() => assign(tensor, Tensor.from(moved, tensor.shape)));
    }
    return (await step(model, 5)).loss;
  };
  const h = 1e-3 / Math.sqrt(slope);
  const [up, down] = [await move(h), await move(-2 * h)];
  const measured = (up - down) / (2 * h);
  t.ok(Math.abs(measured / slope - 1) < 1e-2, `${measured} against ${slope}`);
});

t.test('bf16 is near f32; the first term alone has no parameters of the others', async (t) => {
  const both = await Promise.all((['f32', 'bf16'] as const).map((compute) => trainClip(toyRequest(compute))));
  const [wide, narrow] = await Promise.all(both.map((model) => step(model, 5)));
  t.ok(Math.abs((narrow?.loss as number) / (wide?.loss as number) - 1) < 1e-2);
  const plain = await trainClip({ ...toyRequest(), losses: {} });
  t.notOk([...plain.parameters.keys()].some((name) => name.startsWith('noun')));
  const context = stepContext(0, 10);
  const losses = plain.losses((await plain.prepare(pairs(3), context)) as HostBatch, context);
  t.same(Object.keys(losses).sort(), ['contrastive', 'total']);
  for (const model of [...both, plain]) model.dispose();
});

t.test('the temperature stays below its limit', async (t) => {
  const model = await trainClip({ ...toyRequest(), losses: { maxScale: 20 } });
  t.teardown(() => model.dispose());
  const scale = model.parameters.get('logit_scale') as Tensor;
  noGrad(() => assign(scale, Tensor.scalar(9)));
  model.afterUpdate?.();
  t.ok(Math.abs(((await model.report?.())?.scale as number) - 20) < 1e-4);
});

t.test('described files and weights are a CLIP folder, from which training goes on', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'wordmask-train-'));
  t.teardown(() => rm(folder, { recursive: true }));
  const model = await trainClip(toyRequest());
  for (const [name, content] of Object.entries(await model.describe())) await writeFile(join(folder, name), content);
  const tensors = await Promise.all(
    [...model.parameters].map(
      async ([name, tensor]) => [name, { data: await tensor.data(), shape: tensor.shape }] as const,
    ),
  );
  await writeSafetensors(join(folder, 'model.safetensors'), tensors);
  const backbone = await loadBackbone(folder);
  const { data } = await backbone.encodeText(['a red house']);
  t.equal(data.length, 24);
  t.ok(Math.abs(Math.hypot(...(data as Float32Array)) - 1) < 1e-5);
  backbone.dispose();
  await t.rejects(trainClip({ ...toyRequest(), base: folder }), {
    code: 'E_OPTION',
    message: /model\.vision.*beside base/,
  });
  const again = await trainClip({ ...toyRequest(), model: { patches: 0.7 }, base: folder });
  t.equal((await step(again, 5)).loss, (await step(model, 5)).loss);
  model.dispose();
  again.dispose();
});

t.test('refusals name the key', async (t) => {
  const refused = async (change: object, text: RegExp) =>
    t.rejects(trainClip({ ...toyRequest(), ...change } as never), { code: 'E_OPTION', message: text });
  await refused({ model: { vison: {} } }, /vison.*did you mean "vision"/);
  await refused({ model: { vision: { image: 60 } } }, /multiple of the patch size 8, got 60/);
  await refused({ model: { text: { width: 33 } } }, /model\.text\.width.*2 heads/);
  await refused({ losses: { valuePath: -1 } }, /losses\.valuePath/);
  await refused({ losses: { nounPatch: { nouns: 'voc22' } } }, /did you mean "voc2/);
  await refused({ losses: { nounPatch: { nouns: [['a']], templates: ['no slot'] } } }, /exactly one \{\}/);
});

t.test('its own test: captions found, patches named, nothing changed', async (t) => {
  const samples = pairs(30).map((pair, i) => ({ ...pair, labels: new Uint8Array(24 * 24).fill(i % 3) }));
  const heldOut = async () => ({ samples, classes: ['red', 'green', 'blue'] });
  const model = await trainClip({ ...toyRequest(), heldOut });
  t.teardown(() => model.dispose());
  const hash = async () => {
    const digest = createHash('sha256');
    for (const tensor of model.parameters.values()) digest.update(await tensor.data());
    return digest.digest('hex');
  };
  const before = await hash();
  const found = (await model.evaluate?.()) as Record<string, number>;
  t.same(Object.keys(found), ['retrieval', 'mIoU', 'pixelAccuracy']);
  for (const [name, value] of Object.entries(found)) t.ok(value >= 0 && value <= 1, `${name} ${value}`);
  t.same(await model.evaluate?.(), found, 'the same again');
  t.equal(await hash(), before);
  const plain = await trainClip({ ...toyRequest(), heldOut: async () => ({ samples: pairs(4) }) });
  t.teardown(() => plain.dispose());
  t.same(Object.keys((await plain.evaluate?.()) ?? {}), ['retrieval'], 'without labels');
  const none = await trainClip(toyRequest());
  t.teardown(() => none.dispose());
  t.equal(none.evaluate, undefined);
});
