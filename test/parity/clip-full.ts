/**
 * A full-size CLIP folder against PyTorch: node build/ts/test/parity/clip-full.js DIR OUT.safetensors, after
 * test/parity/clip_reference.py. Prints one JSON line a precision: relative L2 of the projected patches and of the text
 * embeddings, and the share of pixels whose label of 171 is PyTorch's.
 */

import { argmax, cosineLogits, resize, scope, Tensor } from '#lib/engine/index.js';
import { loadBackbone } from '#lib/registry/backbones.js';
import { loadAll } from '../helpers/data.js';
import { relL2 } from '../helpers/samples.js';

const [folder, file] = process.argv.slice(2) as [string, string];
const reference = await loadAll(file);
const get = (name: string) => reference.get(name) as { data: Float32Array; shape: number[] };

for (const dtype of ['fp32', 'bf16']) {
  const backbone = await loadBackbone(folder, { dtype });
  const inputs = { pixel_values: get('pixel_values'), input_ids: get('input_ids') };
  const found = await backbone.inspect(inputs, ['vision.projected_patches', 'text_embeds']);
  const patches = found['vision.projected_patches'] as { data: Float32Array; shape: number[] };
  const labels = await scope(async () => {
    const size = get('labels').shape[0] as number;
    const side = Math.round(Math.sqrt(patches.shape[1] as number));
    const text = get('text_embeds');
    const cosine = cosineLogits(Tensor.from(patches.data, patches.shape), Tensor.from(text.data, text.shape)).reshape(
      171,
      side,
      side,
    );
    return (await argmax(
      resize(cosine, { width: size, height: size, mode: 'torch_bilinear' }),
      0,
    ).data()) as Int32Array;
  });
  const want = get('labels').data;
  const equal = labels.reduce((count, label, i) => count + (label === want[i] ? 1 : 0), 0) / want.length;
  console.log(
    JSON.stringify({
      name: 'parity',
      dtype,
      patches_relL2: relL2(patches.data, get('projected_patches').data),
      text_relL2: relL2(found.text_embeds?.data ?? [], get('text_embeds').data),
      labels_equal: equal,
    }),
  );
  backbone.dispose();
}
