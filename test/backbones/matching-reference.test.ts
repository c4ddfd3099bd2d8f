/** Matching models against reference models and the stages of published code, where the data are at hand. */
import { copyFile, mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { Tensor } from '#lib/engine/index.js';
import { loadBackbone, loadMatching } from '#lib/registry/backbones.js';
import { data, type Loaded, loadAll, maxError, needsData } from '../helpers/data.js';

const host = async (t: Tensor) => (await t.toArray()).data as Float32Array;
const top = (x: ArrayLike<number>) => Array.from(x).reduce((m, v) => Math.max(m, Math.abs(v)), 0);

/** Every value of expected.safetensors; gradients relative to their largest entry. */
async function reference(t: Test, name: string): Promise<void> {
  const folder = data('reference-models', name);
  const expected = await loadAll(join(folder, 'expected.safetensors'));
  const inputs = Object.fromEntries(await loadAll(join(folder, 'inputs.safetensors')));
  const backbone = await loadBackbone(folder);
  const found = await backbone.inspect(inputs, [...expected.keys()]);
  for (const [value, want] of expected) {
    t.same(found[value]?.shape, want.shape, value);
    const gradient = value.includes('gradient');
    const limit = gradient ? 1e-4 * top(want.data) : /^cross_attention/.test(value) ? 1e-5 : 1e-4;
    const error = maxError(found[value]?.data ?? [], want.data);
    t.ok(error < limit, `${name} ${value}: error ${error.toExponential(2)}`);
  }
  backbone.dispose();
}

for (const name of ['blip-itm-tiny', 'bert-cross-tiny', 'bridgetower-tiny'])
  t.test(`reference model ${name}`, needsData, (t) => reference(t, name));

interface Note {
  configuration?: Record<'vision' | 'text' | 'fusion', unknown>;
  parameters: { caption: string; layer_counted_from_0?: number };
  model?: string;
  token_ids: number[];
  pieces: string[];
}

/** A case's model as a user would have it. */
async function caseFolder(name: string, note: Note): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'wordmask-case-'));
  const from = note.model ? data(note.model.replace('shared/data/', '')) : data('systems', name);
  await copyFile(join(from, 'model.safetensors'), join(folder, 'model.safetensors'));
  const copy = (path: string, as: string) => copyFile(path, join(folder, as));
  if (note.configuration) {
    const { vision, text, fusion } = note.configuration;
    const config = { visual_encoder: vision, text_encoder: text, fusion_encoder: fusion };
    await writeFile(join(folder, 'config.json'), JSON.stringify(config));
  } else await copy(join(from, 'config.json'), 'config.json');
  if (name.endsWith('bridgetower-tiny')) await copy(data('systems', name, 'tokenizer.json'), 'tokenizer.json');
  else if (note.model) await copy(data('vocab/bert-base-uncased-vocab.txt'), 'vocab.txt');
  else await copy(join(from, 'vocab.txt'), 'vocab.txt');
  return folder;
}

async function stages(t: Test, name: string): Promise<void> {
  const note = JSON.parse(await readFile(data('systems', name, 'note.json'), 'utf8')) as Note;
  const expected = await loadAll(data('systems', name, 'expected.safetensors'));
  const model = await loadMatching(await caseFolder(name, note));
  const tokens = model.tokenize(note.parameters.caption);
  t.same(tokens, { ids: note.token_ids, pieces: note.pieces }, 'tokens');
  const stored = expected.get('pixel_values') as Loaded;
  const x = Tensor.from(stored.data, [1, ...stored.shape.slice(-3)]);
  const near = (what: string, found: Float32Array, want: ArrayLike<number>) => {
    const error = maxError(found, want);
    t.ok(error < 1e-4 * top(want), `${name} ${what}: error ${error.toExponential(2)}`);
  };
  const heads = Array.from({ length: model.heads }, (_, i) => i);
  const single = note.parameters.layer_counted_from_0;
  const places =
    single === undefined ? model.layers.map((layer) => [layer, `.${layer}`] as const) : [[single, ''] as const];
  for (const [layer, suffix] of places) {
    const found = model.crossAttention(x, tokens.ids, { layer, heads });
    near(`A${suffix}`, await host(found.probabilities), (expected.get(`A${suffix}`) as Loaded).data);
    near(`G${suffix}`, await host(found.gradient), (expected.get(`G${suffix}`) as Loaded).data);
    near('itm_logits', await host(found.logits), (expected.get('itm_logits') as Loaded).data.subarray(0, 2));
  }
  const named = { image_tokens: 'image_embeds', 'text.last_hidden': 'text_embeds' };
  for (const value of ['image_feature', 'text_feature', 'multimodal', 'multimodal_image', ...Object.keys(named)]) {
    const want = expected.get((named as Record<string, string>)[value] ?? value);
    if (want) near(value, await host(model.values(x, tokens.ids, [value])[value] as Tensor), want.data);
  }
  model.dispose();
}

const cases = [
  'albef/tiny',
  'mplug/tiny',
  'pnp-ovss/blip-12x12-published-code',
  'pnp-ovss/blip-tiny',
  'pnp-ovss/bridgetower-tiny',
];
for (const name of cases) t.test(`stages of ${name}`, needsData, (t) => stages(t, name));
