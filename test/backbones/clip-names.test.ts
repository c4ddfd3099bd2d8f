/** OpenAI's tensor names and Hugging Face's give one model; padding and activations by definition. */
import { copyFile, mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { linear, Tensor } from '#lib/engine/index.js';
import { loadBackbone } from '#lib/registry/backbones.js';
import { writeSafetensors } from '#lib/weights/index.js';
import { loadAll, maxError } from '../helpers/data.js';
import { mini, miniFolder } from '../helpers/fixture.js';

type Values = { shape: number[]; data: Float32Array };

/** Hugging Face's tensors under the original names, q, k and v joined, projections turned. Written down apart from the key map. */
function asPublished(tensors: Map<string, Values>): Map<string, Values> {
  const result = new Map<string, Values>();
  for (const [name, value] of tensors) {
    const text = name.startsWith('text_model') ? '' : 'visual.';
    const block = /encoder\.layers\.(\d+)\.(.*)\.(weight|bias)$/.exec(name);
    const projection = /^(text|visual)_projection\.weight$/.exec(name);
    if (block) {
      const [, number, part = '', kind] = block;
      const at = `${text}transformer.resblocks.${number}`;
      const letter = /self_attn\.([qkv])_proj/.exec(part)?.[1];
      if (letter === 'q') {
        const three = ['q', 'k', 'v'].map((x) => tensors.get(name.replace('q_proj', `${x}_proj`)) as Values);
        const data = Float32Array.from(three.flatMap(({ data }) => [...data]));
        result.set(`${at}.attn.in_proj_${kind}`, {
          shape: [3 * (value.shape[0] as number), ...value.shape.slice(1)],
          data,
        });
      } else if (!letter) {
        const plain = part
          .replace('self_attn.out_proj', 'attn.out_proj')
          .replace('layer_norm', 'ln_')
          .replace('mlp.fc1', 'mlp.c_fc')
          .replace('mlp.fc2', 'mlp.c_proj');
        result.set(`${at}.${plain}.${kind}`, value);
      }
    } else if (projection) {
      const [rows = 0, columns = 0] = value.shape;
      const data = Float32Array.from(
        value.data,
        (_, i) => value.data[(i % rows) * columns + Math.floor(i / rows)] as number,
      );
      result.set(projection[1] === 'text' ? 'text_projection' : 'visual.proj', { shape: [columns, rows], data });
    } else {
      const renamed = name
        .replace('vision_model.embeddings.patch_embedding', 'visual.conv1')
        .replace('vision_model.embeddings.class_embedding', 'visual.class_embedding')
        .replace('vision_model.embeddings.position_embedding.weight', 'visual.positional_embedding')
        .replace('vision_model.pre_layrnorm', 'visual.ln_pre')
        .replace('vision_model.post_layernorm', 'visual.ln_post')
        .replace('text_model.embeddings.token_embedding', 'token_embedding')
        .replace('text_model.embeddings.position_embedding.weight', 'positional_embedding')
        .replace('text_model.final_layer_norm', 'ln_final');
      result.set(renamed, value);
    }
  }
  return result;
}

t.test('original names, with and without model_type, give the same values', async (t) => {
  const tensors = (await loadAll(join(miniFolder(), 'model.safetensors'))) as Map<string, Values>;
  const inputs = new Map(
    [...(await loadAll(mini('expected.safetensors')))].map(
      ([name, value]) => [name.replace('input.', ''), value] as const,
    ),
  );
  const names = ['image_embeds', 'text_embeds', 'vision.hidden.1', 'text.hidden.2'];
  const given = Object.fromEntries(['pixel_values', 'input_ids'].map((name) => [name, inputs.get(name)])) as never;
  const folder = await mkdtemp(join(tmpdir(), 'wordmask-clip-names-'));
  await writeSafetensors(join(folder, 'model.safetensors'), asPublished(tensors));
  await copyFile(join(miniFolder(), 'config.json'), join(folder, 'config.json'));
  const [a, b] = [await loadBackbone(miniFolder()), await loadBackbone(folder)];
  const [want, found] = [await a.inspect(given, names), await b.inspect(given, names)];
  for (const name of names) t.same(found[name]?.data, want[name]?.data, name);
  b.dispose();
  await writeFile(join(folder, 'config.json'), '{}');
  await t.rejects(loadBackbone(folder), { code: 'E_MODEL_FORMAT', message: /model_type/ });
  a.dispose();
});

t.test('what stands behind the end token does not matter', async (t) => {
  const backbone = await loadBackbone(miniFolder());
  const end = (backbone.config as { text: { eosTokenId: number } }).text.eosTokenId;
  const embed = async (behind: number) => {
    const row = Int32Array.from([end - 1, 5, 9, end, behind, behind]);
    return (await backbone.inspect({ input_ids: { data: row, shape: [1, 6] } }, ['text_embeds'])).text_embeds?.data;
  };
  t.ok(maxError((await embed(0)) as Float32Array, (await embed(end)) as Float32Array) < 1e-6);
  backbone.dispose();
});

t.test('the two activations of CLIP and BERT at 1', async (t) => {
  const one = Tensor.from([1], [1, 1]);
  const at = async (activation: 'gelu' | 'quick_gelu') => (await linear(one, one, { activation }).data())[0] as number;
  t.ok(Math.abs((await at('quick_gelu')) - 0.845796) < 1e-6);
  t.ok(Math.abs((await at('gelu')) - 0.841345) < 1e-6);
});
