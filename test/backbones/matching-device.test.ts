/** Cross-attention, its gradient and the fused salience of matching models on a device of a module against the CPU. */
import t from 'tap';
import { onDevice, sync, Tensor } from '#lib/engine/index.js';
import { loadMatching } from '#lib/registry/backbones.js';
import { maxError } from '../helpers/data.js';
import { blipConfig, fusionModel, modelFolder, mplugConfig, mplugModel } from '../helpers/matching.js';
import { heldBytes } from '../helpers/memory.js';
import { seeded } from '../helpers/samples.js';
import { deviceUnderTest as device, noDevice } from '../helpers/simt.js';

t.setTimeout(1_800_000);
const skip = noDevice();
const random = seeded('matching on a device');
const picture = Float32Array.from({ length: 3 * 24 * 32 }, () => 2 * random() - 1);
const top = (x: Float32Array) => x.reduce((m, v) => Math.max(m, Math.abs(v)), 0);

/** A, G, salience, logits of two captions of different length for one picture. */
async function run(folder: string, place: string, dtype: string): Promise<Float32Array[]> {
  const model = await loadMatching(folder, { device: place, dtype });
  const pixels = onDevice(place, () => Tensor.from(picture, [1, 3, 24, 32]));
  const at = { layer: model.layers[0] as number, heads: [1] };
  const ids = [
    [2, 5, 8, 10, 11, 3],
    [2, 5, 9, 3],
  ];
  const found = model.crossAttentions(pixels, ids, at);
  const { salience } = model.salience(pixels, ids, at);
  t.equal(salience.device, place);
  const tensors = [found.probabilities, found.gradient, salience, found.logits];
  const values = await Promise.all(tensors.map(async (x) => (await x.toArray()).data as Float32Array));
  for (const tensor of [...tensors, pixels]) tensor.dispose();
  model.dispose();
  return values;
}

t.test('as on the CPU, in fp32 and near it in bf16', { skip }, async (t) => {
  const folders = {
    blip: await modelFolder(fusionModel('blip'), blipConfig),
    mplug: await modelFolder(mplugModel(), mplugConfig),
  };
  const held = async () => {
    await onDevice(device, () => sync());
    return heldBytes(device);
  };
  const before = await held();
  for (const [name, folder] of Object.entries(folders)) {
    const want = await run(folder, 'cpu', 'fp32');
    const exact = await run(folder, device, 'fp32');
    want.forEach((x, i) => t.ok(maxError(exact[i] as Float32Array, x) < 1e-4 * top(x), `${name} fp32, value ${i}`));
  }
  const [narrow] = await run(folders.blip, device, 'bf16');
  const [exact] = await run(folders.blip, 'cpu', 'fp32');
  t.ok(maxError(narrow as Float32Array, exact as Float32Array) < 0.1, 'bf16');
  t.equal(await held(), before, 'nothing is left on the device');
});
