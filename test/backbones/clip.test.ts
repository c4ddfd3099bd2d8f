/**
 * CLIP against the published implementation's outputs and gradients: the small model of test/fixtures always, the
 * reference model of data/reference-models/clip-tiny where it is at hand.
 */
import { readFile } from 'node:fs/promises';
import t, { type Test } from 'tap';
import { preprocess } from '#lib/backbones/clip/index.js';
import { backward, requireGrad, scope, Tensor } from '#lib/engine/index.js';
import { contrastive } from '#lib/nn/losses/index.js';
import { loadBackbone } from '#lib/registry/backbones.js';
import { loadTokenizer } from '#lib/text/index.js';
import { clipTinyFolder, data, type Loaded, loadAll, maxError, needsData } from '../helpers/data.js';
import { mini, miniFolder, miniScene } from '../helpers/fixture.js';

interface Reference {
  folder: string;
  inputs: Map<string, Loaded>;
  expected: Map<string, Loaded>;
  /** By parameter name; `pixel_values` is the input, `token_rows` the listed rows of the token table. */
  gradients: Map<string, Loaded>;
  tokenRows: Int32Array;
  loss: number;
}

function part(values: Map<string, Loaded>, prefix: string): Map<string, Loaded> {
  return new Map(
    [...values].flatMap(([name, value]) => (name.startsWith(prefix) ? [[name.slice(prefix.length), value]] : [])),
  );
}

async function fixture(): Promise<Reference> {
  const all = await loadAll(mini('expected.safetensors'));
  const inputs = part(all, 'input.');
  const gradients = part(all, 'grad.');
  const table = 'text_model.embeddings.token_embedding.weight';
  gradients.set('token_rows', gradients.get(table) as Loaded);
  gradients.delete(table);
  const expected = new Map([...all].filter(([name]) => !/^(input|grad)\.|^(contrastive_loss|preprocess)$/.test(name)));
  return {
    folder: miniFolder(),
    inputs,
    expected,
    gradients,
    tokenRows: inputs.get('token_rows')?.data as Int32Array,
    loss: all.get('contrastive_loss')?.data[0] as number,
  };
}

async function reference(): Promise<Reference> {
  const file = (name: string) => loadAll(data('reference-models/clip-tiny', `${name}.safetensors`));
  const [inputs, expected, gradients] = await Promise.all(['inputs', 'expected', 'gradients'].map(file));
  const loss = expected?.get('contrastive_loss_first_two_texts')?.data[0] as number;
  for (const name of [...(expected as Map<string, Loaded>).keys()])
    if (name.startsWith('contrastive')) expected?.delete(name);
  gradients?.set('token_rows', gradients.get('token_embedding_rows') as Loaded);
  gradients?.delete('token_embedding_rows');
  const tokenRows = inputs?.get('token_embedding_row_ids')?.data as Int32Array;
  return { folder: await clipTinyFolder(), inputs, expected, gradients, tokenRows, loss } as Reference;
}

async function values(t: Test, { folder, inputs, expected }: Reference): Promise<void> {
  const backbone = await loadBackbone(folder);
  const large = [...expected.keys()].filter((name) => name.startsWith('vision_large.'));
  const small = [...expected.keys()].filter((name) => !name.startsWith('vision_large'));
  const found = {
    ...(await backbone.inspect(Object.fromEntries(inputs), small)),
    ...(await backbone.inspect({ pixel_values: inputs.get('pixel_values_large') as Loaded }, large)),
  };
  t.ok(small.length >= 15 && large.length > 0);
  for (const [name, want] of expected) {
    t.same(found[name]?.shape, want.shape, `${name}: shape`);
    const error = maxError(found[name]?.data ?? [], want.data);
    t.ok(error < 1e-4, `${name}: error ${error.toExponential(2)}`);
  }
  await t.rejects(backbone.inspect(Object.fromEntries(inputs), ['vision.hidden.9']), { code: 'E_OPTION' });
  await t.rejects(backbone.inspect({}, ['image_embeds']), { code: 'E_USAGE' });
  backbone.dispose();
}

async function gradientsOfLoss(
  t: Test,
  { folder, inputs, gradients, tokenRows, loss: wantLoss }: Reference,
): Promise<void> {
  const backbone = await loadBackbone(folder);
  await scope(async () => {
    const input = (name: string) => inputs.get(name) as { data: Float32Array; shape: number[] };
    const pixels = requireGrad(Tensor.from(input('pixel_values').data, input('pixel_values').shape));
    const firstTwo = (name: string) => {
      const length = input(name).shape[1] as number;
      return { data: input(name).data.slice(0, 2 * length), shape: [2, length] };
    };
    const found = backbone.forward(
      { pixel_values: pixels, input_ids: firstTwo('input_ids'), attention_mask: firstTwo('attention_mask') },
      ['image_embeds', 'text_embeds'],
    );
    const logitScale = backbone.parameters.get('logit_scale') as Tensor;
    const loss = contrastive(found.image_embeds as Tensor, found.text_embeds as Tensor, { logitScale });
    t.ok(Math.abs((await loss.item()) - wantLoss) < 1e-4, 'loss');
    const grads = backward(loss, { wrt: [pixels, ...backbone.parameters.values()] });
    for (const [name, want] of gradients) {
      const key = name === 'token_rows' ? 'text_model.embeddings.token_embedding.weight' : name;
      const parameter = name === 'pixel_values' ? pixels : backbone.parameters.get(key);
      let actual = (await grads.get(parameter as Tensor)?.data()) as Float32Array;
      if (name === 'token_rows') {
        actual = Float32Array.from([...tokenRows].flatMap((id) => [...actual.subarray(id * 32, (id + 1) * 32)]));
      }
      const largest = Math.max(...Array.from(want.data, Math.abs));
      const error = maxError(actual, want.data);
      // A key bias has no gradient in theory: both sides hold rounding noise.
      t.ok(
        error <= 1e-4 * largest || error < 1e-6,
        `${name}: error ${error.toExponential(2)} of ${largest.toExponential(2)}`,
      );
    }
  });
  backbone.dispose();
}

t.test('values, fixture', async (t) => values(t, await fixture()));
t.test('gradients of the contrastive loss, fixture', async (t) => gradientsOfLoss(t, await fixture()));
t.test('values, reference model', needsData, async (t) => values(t, await reference()));
t.test('gradients of the contrastive loss, reference model', needsData, async (t) =>
  gradientsOfLoss(t, await reference()),
);

t.test('tokens of the fixture', async (t) => {
  const tokenizer = await loadTokenizer(miniFolder());
  const cases = JSON.parse(await readFile(mini('tokens.json'), 'utf8')) as { text: string; ids: number[] }[];
  for (const { text, ids } of cases) t.same(tokenizer.encode(text), ids, JSON.stringify(text));
  t.equal(tokenizer.vocabSize, 531);
});

t.test('picture to pixel values', async (t) => {
  const want = (await loadAll(mini('expected.safetensors'))).get('preprocess') as Loaded;
  const found = await preprocess(miniScene, 32);
  t.same(found.shape, want.shape);
  const error = maxError(found.data, want.data);
  t.ok(error < 1e-6, `error ${error.toExponential(2)}`);
  await t.rejects(preprocess(miniScene, 0), { code: 'E_OPTION' });
  const thin = { data: new Uint8Array(60000 * 3), width: 60000, height: 1, channels: 3 };
  await t.rejects(preprocess(thin, 224), { code: 'E_IMAGE_SIZE' });
});
