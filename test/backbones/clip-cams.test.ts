/** Gradients in CLIP's last vision block against finite differences, attention against what `inspect` says. */
import { join } from 'node:path';
import t from 'tap';
import { clipCams, lastBlocks, loadClip, parseClipConfig } from '#lib/backbones/clip/index.js';
import { l2Normalise, noGrad, Tensor } from '#lib/engine/index.js';
import { loadBackbone } from '#lib/registry/backbones.js';
import { readModelFolder } from '#lib/registry/folder.js';
import { openWeights } from '#lib/weights/index.js';
import { maxError } from '../helpers/data.js';
import { miniFolder } from '../helpers/fixture.js';
import { heldBytes } from '../helpers/memory.js';
import { seeded } from '../helpers/samples.js';

const random = seeded('clip cams');
const values = (count: number) => Float32Array.from({ length: count }, () => 2 * random() - 1);
const pixels = { data: values(3 * 24 * 40), shape: [1, 3, 24, 40] };
const host = async (x: Tensor) => (await x.toArray()).data as Float32Array;
const top = (x: Float32Array) => x.reduce((m, v) => Math.max(m, Math.abs(v)), 0);

async function open() {
  const folder = await readModelFolder(miniFolder());
  const config = parseClipConfig(folder.configFile, folder.config);
  await using weights = await openWeights(join(folder.weights));
  return loadClip(config, weights, { compute: 'f32', differentiable: 'last-block' });
}

t.test('attention of the last blocks is their mean over heads', async (t) => {
  const model = await open();
  const backbone = await loadBackbone(miniFolder());
  const { layers, heads } = model.config.vision;
  const names = Array.from({ length: layers }, (_, i) => `vision.attention.${i}`);
  const maps = await backbone.inspect({ pixel_values: pixels }, [...names, `vision.hidden.${layers - 1}`]);
  for (const count of [1, layers]) {
    const want = new Float32Array(16 * 16);
    for (const name of names.slice(layers - count))
      maps[name]?.data.forEach((p, i) => {
        const at = i % want.length;
        want[at] = (want[at] as number) + Number(p) / (heads * count);
      });
    const found = lastBlocks(model, Tensor.from(pixels.data, pixels.shape), { count });
    t.same(found.grid, [3, 5]);
    t.ok(maxError(await host(found.attention), want) < 1e-6, `last ${count}`);
    t.ok(maxError(await host(found.hidden), maps[`vision.hidden.${layers - 1}`]?.data as Float32Array) < 1e-5);
  }
  const x = Tensor.from(pixels.data, pixels.shape);
  t.throws(() => lastBlocks(model, x, { count: layers + 1 }), { code: 'E_OPTION' });
  backbone.dispose();
  model.dispose();
});

t.test('gradients of class probabilities are those of finite differences', async (t) => {
  const model = await open();
  const { embed, vision } = model.config;
  const texts = l2Normalise(Tensor.from(values(4 * embed), [4, embed]));
  const { hidden } = lastBlocks(model, Tensor.from(pixels.data, pixels.shape), { count: 1 });
  const all = clipCams(model, hidden, texts, [2, 0, 3], { scale: 10 });
  const [weights, p] = [await host(all.weights), await host(all.probabilities)];
  t.same(all.weights.shape, [3, vision.width]);
  t.ok(Math.abs(p.reduce((a, b) => a + b) - 1) < 1e-6);
  const apart = clipCams(model, hidden, texts, [2, 0, 3], { scale: 10, chunk: 2 });
  t.ok(maxError(await host(apart.weights), weights) < 1e-6 * (1 + top(weights)), 'in chunks');
  // Moving one channel of all patches at once moves the probability by P times the mean gradient.
  const probability = (channel: number, by: number) =>
    noGrad(() => {
      const moved = new Float32Array(16 * vision.width);
      for (let i = 1; i < 16; i++) moved[i * vision.width + channel] = by;
      const shift = Tensor.from(moved, [1, 16, vision.width]);
      const tokens = model.blockRange(hidden, vision.layers - 1, vision.layers, {
        onNormed: (normed) =>
          Tensor.from(
            (normed.dataSync() as Float32Array).map((v, i) => v + (moved[i] as number)),
            shift.shape,
          ),
      });
      const data = model.postNorm(tokens).dataSync() as Float32Array;
      const pooled = new Float32Array(vision.width);
      for (let i = 1; i < 16; i++)
        for (let c = 0; c < vision.width; c++)
          pooled[c] = (pooled[c] as number) + (data[i * vision.width + c] as number) / 15;
      const f = l2Normalise(model.projectPooled(Tensor.from(pooled, [1, vision.width]))).dataSync() as Float32Array;
      const rows = texts.dataSync() as Float32Array;
      const logits = [0, 1, 2, 3].map((k) => 10 * f.reduce((s, v, e) => s + v * (rows[k * embed + e] as number), 0));
      const mass = logits.reduce((s, l) => s + Math.exp(l), 0);
      return logits.map((l) => Math.exp(l) / mass);
    });
  for (const channel of [0, 7, 19, 31]) {
    const [up, down] = [probability(channel, 0.01), probability(channel, -0.01)];
    [2, 0, 3].forEach((c, i) => {
      const numeric = ((up[c] as number) - (down[c] as number)) / 0.02 / 15;
      const error = Math.abs(numeric - (weights[i * vision.width + channel] as number));
      t.ok(error < 5e-3 * top(weights), `channel ${channel}, class ${c}: error ${error}`);
    });
  }
  model.dispose();
});

t.test('nothing is left behind', async (t) => {
  const model = await open();
  const before = await heldBytes();
  const texts = l2Normalise(Tensor.from(values(2 * model.config.embed), [2, model.config.embed]));
  const blocks = lastBlocks(model, Tensor.from(pixels.data, pixels.shape), { count: 2 });
  const found = clipCams(model, blocks.hidden, texts, [0, 1]);
  await host(found.weights);
  for (const x of [texts, blocks.hidden, blocks.attention, ...Object.values(found)]) x.dispose();
  const table = 16 * model.config.vision.width * 4;
  t.ok((await heldBytes()) - before <= table + 256, 'but a position table');
  model.dispose();
});
