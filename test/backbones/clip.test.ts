/** CLIP against the published implementation's outputs and gradients (data/reference-models/clip-tiny). */
import t from 'tap';
import { Tensor, backward, requireGrad, scope } from '#lib/engine/index.js';
import { contrastive } from '#lib/nn/losses/index.js';
import { loadBackbone } from '#lib/registry/backbones.js';
import { clipTinyFolder, data, loadAll, maxError, needsData } from '../helpers/data.js';

t.test('values', needsData, async (t) => {
  const backbone = await loadBackbone(await clipTinyFolder());
  const inputs = await loadAll(data('reference-models/clip-tiny/inputs.safetensors'));
  const expected = await loadAll(data('reference-models/clip-tiny/expected.safetensors'));
  const all = Object.fromEntries([...inputs].map(([name, value]) => [name, value]));
  const small = [...expected.keys()].filter((name) => !name.startsWith('vision_large') && !name.startsWith('contrastive'));
  const found = await backbone.inspect(all, small);
  for (const name of small) {
    const want = expected.get(name);
    t.same(found[name]?.shape, want?.shape, `${name}: shape`);
    const error = maxError(found[name]?.data ?? [], want?.data ?? []);
    t.ok(error < 1e-4, `${name}: error ${error.toExponential(2)}`);
  }
  const large = ['vision_large.hidden.0', 'vision_large.last_hidden'];
  const resized = await backbone.inspect({ pixel_values: all.pixel_values_large as never }, large);
  for (const name of large) t.ok(maxError(resized[name]?.data ?? [], expected.get(name)?.data ?? []) < 1e-4, name);
  await t.rejects(backbone.inspect(all, ['vision.hidden.9']), { code: 'E_OPTION' });
  await t.rejects(backbone.inspect({}, ['image_embeds']), { code: 'E_USAGE' });
  backbone.dispose();
});

t.test('gradients of the contrastive loss', needsData, async (t) => {
  const backbone = await loadBackbone(await clipTinyFolder());
  const inputs = await loadAll(data('reference-models/clip-tiny/inputs.safetensors'));
  const expected = await loadAll(data('reference-models/clip-tiny/expected.safetensors'));
  const gradients = await loadAll(data('reference-models/clip-tiny/gradients.safetensors'));
  await scope(async () => {
    const input = (name: string) => inputs.get(name) as { data: Float32Array; shape: number[] };
    const pixels = requireGrad(Tensor.from(input('pixel_values').data, input('pixel_values').shape));
    const firstTwo = (name: string) => ({ data: input(name).data.slice(0, 2 * 77), shape: [2, 77] });
    const values = backbone.forward(
      { pixel_values: pixels, input_ids: firstTwo('input_ids'), attention_mask: firstTwo('attention_mask') }, ['image_embeds', 'text_embeds'],
    );
    const logitScale = backbone.parameters.get('logit_scale') as Tensor;
    const loss = contrastive(values.image_embeds as Tensor, values.text_embeds as Tensor, { logitScale });
    t.ok(Math.abs((await loss.item()) - (expected.get('contrastive_loss_first_two_texts')?.data[0] as number)) < 1e-4, 'loss');
    const grads = backward(loss, { wrt: [pixels, ...backbone.parameters.values()] });
    for (const [name, want] of gradients) {
      const rows = name === 'token_embedding_rows';
      const parameter = name === 'pixel_values' ? pixels : backbone.parameters.get(rows ? 'text_model.embeddings.token_embedding.weight' : name);
      let actual = (await grads.get(parameter as Tensor)?.data()) as Float32Array;
      if (rows) {
        const ids = inputs.get('token_embedding_row_ids')?.data as Int32Array;
        actual = Float32Array.from([...ids].flatMap((id) => [...actual.subarray(id * 32, (id + 1) * 32)]));
      }
      const largest = Math.max(...Array.from(want.data, Math.abs));
      const error = maxError(actual, want.data);
      // A key bias has no gradient in theory: both sides hold rounding noise.
      t.ok(error <= 1e-4 * largest || error < 1e-6, `${name}: error ${error.toExponential(2)} of ${largest.toExponential(2)}`);
    }
  });
  backbone.dispose();
});
