/** Matching models: small random ones against definitions (finite differences, padding, names of two origins), bad input. */
import t from 'tap';
import {
  attentionBwd,
  backward,
  noGrad,
  recording,
  requireGrad,
  retain,
  scope,
  sum,
  Tensor,
} from '#lib/engine/index.js';
import type { CrossParts } from '#lib/nn/bert.js';
import { crossAttentionCams } from '#lib/nn/match/core.js';
import type { FusionCore } from '#lib/nn/match/fusion.js';
import { type FusionConfig, fusionCore } from '#lib/nn/match/fusion-load.js';
import type { MatchingModel } from '#lib/nn/matching.js';
import { TensorMaps } from '#lib/nn/tensor-maps.js';
import { resizePositions } from '#lib/nn/vision-tower.js';
import { loadBackbone, openMatching } from '#lib/registry/backbones.js';
import { readModelFolder } from '#lib/registry/folder.js';
import { maxError } from '../helpers/data.js';
import {
  blipConfig,
  bridgeTowerConfig,
  bridgeTowerModel,
  fusionConfig,
  fusionModel,
  modelFolder,
  mplugConfig,
  mplugModel,
  originalName,
  ownConfig,
  type Tensors,
} from '../helpers/matching.js';
import { heldBytes } from '../helpers/memory.js';
import { seeded } from '../helpers/samples.js';

const random = seeded('matching');
const picture = { data: Float32Array.from({ length: 3 * 24 * 24 }, () => 2 * random() - 1), shape: [1, 3, 24, 24] };
const pixels = () => Tensor.from(picture.data, picture.shape);
const ids = [2, 5, 8, 10, 11, 3];
const text = { ids: Int32Array.from(ids), batch: 1, length: ids.length, mask: {} };

const open = async (folder: string, options: Partial<Parameters<typeof openMatching>[1]> = {}) =>
  openMatching(await readModelFolder(folder), { compute: 'f32', ...options });
const host = async (t: Tensor) => (await t.toArray()).data as Float32Array;
const top = (x: ArrayLike<number>) => Array.from(x).reduce((m, v) => Math.max(m, Math.abs(v)), 0);
const original = (tensors: Tensors) => [...tensors].map(([name, x]) => [originalName(name), x] as const);
const ints = (values: readonly number[], shape = [1, values.length]) => ({ data: Int32Array.from(values), shape });

const folders = {
  blip: () => modelFolder(fusionModel('blip'), blipConfig),
  albef: () => modelFolder(original(fusionModel('albef')), ownConfig),
  mplug: () => modelFolder(mplugModel(), mplugConfig),
};

function blipCore(): FusionCore {
  const tensors = new Map([...fusionModel('blip')].map(([name, x]) => [name, Tensor.from(x.data, [...x.shape])]));
  return fusionCore(new TensorMaps(tensors, { compute: 'f32' }), fusionConfig('blip') as FusionConfig, true);
}

t.test('the gradient of a cross-attention is that of finite differences, and of the attention op', async (t) => {
  const core = blipCore();
  const { cams } = noGrad(() => crossAttentionCams(core, core.vision(pixels()), text, [{ layer: 0 }]));
  const gradient = await host((cams[0] as { gradient: Tensor }).gradient); // [1, 2, 6, 10]
  // A' = A + by at one place makes the context A' V: a row of V moves one head's row of it.
  const logit = (head: number, token: number, key: number, by: number) =>
    noGrad(() => {
      let state = core.join(core.vision(pixels()), text);
      state = core.step(state, 0, {
        context: ({ v, context }) => {
          const moved = context.dataSync().slice() as Float32Array; // [1, T, D]
          const row = v.select(1, head).select(1, key).contiguous().dataSync() as Float32Array; // [1, d]
          row.forEach((x, c) => {
            const at = token * 16 + head * 8 + c;
            moved[at] = (moved[at] as number) + by * x;
          });
          return Tensor.from(moved, context.shape);
        },
      });
      return core.logits(core.step(state, 1)).dataSync()[1] as number;
    });
  const slope = (head: number, token: number, key: number, step: number) =>
    (logit(head, token, key, step) - logit(head, token, key, -step)) / (2 * step);
  for (const [head, token, key] of [
    [0, 0, 0],
    [1, 3, 4],
    [0, 5, 9],
    [1, 0, 7],
    [0, 2, 1],
  ] as const) {
    const numeric = (4 * slope(head, token, key, 0.015) - slope(head, token, key, 0.03)) / 3;
    const error = Math.abs(numeric - (gradient[(head * 6 + token) * 10 + key] as number));
    t.ok(error < 2e-3 * top(gradient), `head ${head}, token ${token}, key ${key}: error ${error}`);
  }
  t.ok(maxError(gradient, await throughOp(core)) < 1e-5 * top(gradient), 'as dP of attention_bwd');
});

/** dP of layer 0 as the attention's own backward gives it, from a second run on the tape. */
function throughOp(core: FusionCore): Promise<Float32Array> {
  return recording(() => {
    let parts: CrossParts | undefined;
    let leaf: Tensor | undefined;
    let state = core.join(core.vision(pixels()), text);
    state = core.step(state, 0, {
      context: (seen) => {
        const [q, k, v] = [seen.q, seen.k, seen.v].map((x) => retain(x)) as [Tensor, Tensor, Tensor];
        parts = { ...seen, q, k, v };
        leaf = retain(requireGrad(seen.context.detach()));
        return leaf;
      },
    });
    const logits = core.logits(core.step(state, 1));
    const { q, k, v } = parts as CrossParts;
    const dOut = backward(sum(logits.slice(1, 1, 2)), { wrt: [leaf as Tensor] }).get(leaf as Tensor) as Tensor;
    const { maps } = attentionBwd(
      [q, k, v],
      {
        source: 0,
        scale: 1 / Math.sqrt(8),
        causal: false,
        sigma: 0,
        gridHeight: 0,
        gridWidth: 0,
        nonly: false,
        rescue: false,
        classTokens: 0,
        classMode: 0,
        termGrads: false,
        returnMapGrads: true,
      },
      { dOut: dOut.reshape(1, 6, 2, 8) },
    );
    return host(maps as Tensor);
  });
}

t.test('last layer, batches, padding, one head', async (t) => {
  for (const kind of ['blip', 'albef', 'mplug'] as const) {
    const model = await open(await folders[kind]());
    t.equal(model.kind, kind);
    const last = model.layers.at(-1) as number;
    const place = { layer: last, heads: [0, 1] };
    const end = model.crossAttention(pixels(), ids, place);
    t.same(end.gradient.shape, [2, 6, 10]);
    const g = await host(end.gradient);
    t.equal(top(g.subarray(10, 60)), 0, `${kind}: the last layer's gradient is 0 beyond token 0`);
    t.ok(top(g.subarray(0, 10)) > 0);
    const [first, short] = [model.layers[0] as number, [2, 5, 9, 3]];
    const alone = model.crossAttention(pixels(), short, { layer: first, heads: [1] });
    const both = model.crossAttentions(pixels(), [ids, short], { layer: first, heads: [1, 0] });
    t.same(both.probabilities.shape, [2, 2, 6, 10]);
    const one = (x: Tensor) => host(x.select(0, 1).select(0, 0).slice(0, 0, 4).contiguous());
    t.ok(maxError(await one(both.probabilities), await host(alone.probabilities)) < 1e-6, `${kind}: padded row`);
    const scale = top(await host(alone.gradient));
    t.ok(maxError(await one(both.gradient), await host(alone.gradient)) < 1e-5 * scale);
    t.ok(maxError(await host(both.logits.slice(0, 1)), await host(alone.logits)) < 1e-5);
    const { salience } = model.salience(pixels(), [ids, short], { layer: first, heads: [1, 0] });
    const [p, up] = [await host(both.probabilities), await host(both.gradient)]; // [2, 2, 6, 10]
    const want = Float32Array.from({ length: 120 }, (_, i) => {
      const at = [i + 60 * Math.floor(i / 60), i + 60 * Math.floor(i / 60) + 60];
      return at.reduce((sum, j) => sum + ((p[j] as number) * Math.max(0, up[j] as number)) / 2, 0);
    });
    t.ok(maxError(await host(salience), want) < 1e-5 * top(want), `${kind}: salience in one pass`);
    model.dispose();
  }
});

t.test('padding in raw inputs changes nothing that counts, wherever it stands', async (t) => {
  const backbone = await loadBackbone(await folders.blip());
  const logits = async (row: number[], mask?: number[]) => {
    const inputs = { pixel_values: picture, input_ids: ints(row), ...(mask ? { attention_mask: ints(mask) } : {}) };
    return (await backbone.inspect(inputs, ['itm_logits'])).itm_logits?.data as Float32Array;
  };
  const plain = await logits(ids);
  t.ok(maxError(await logits([...ids, 0, 0, 0], [1, 1, 1, 1, 1, 1, 0, 0, 0]), plain) < 1e-5);
  // A hole in the mask takes that key away and leaves the others' places: another value than without the token.
  const holed = await logits([2, 5, 7, 8, 10, 3], [1, 1, 0, 1, 1, 1]);
  t.ok(maxError(holed, await logits([2, 5, 9, 8, 10, 3], [1, 1, 0, 1, 1, 1])) < 1e-5, 'a masked token is not seen');
  t.ok(maxError(holed, await logits([2, 5, 7, 8, 10, 3])) > 1e-4);
  await t.rejects(logits([2, 99, 3]), { code: 'E_USAGE', message: /99/ });
  await t.rejects(logits(Array.from({ length: 21 }, () => 2)), { code: 'E_USAGE', message: /20/ });
  await t.rejects(backbone.inspect({ input_ids: ints(ids) }, ['itm_logits']), { code: 'E_USAGE' });
  await t.rejects(backbone.inspect({}, ['itm_logit']), { code: 'E_OPTION', message: /itm_logits/ });
  const narrow = { pixel_values: { data: picture.data, shape: [1, 3, 4, 144] }, input_ids: ints(ids) };
  await t.rejects(backbone.inspect(narrow, ['itm_logits']), { code: 'E_USAGE', message: /at least 8/ });
  backbone.dispose();
});

t.test('names of both origins, wrappers, copies that training keeps', async (t) => {
  const tensors = fusionModel('blip');
  const extra = { shape: [2, 2], data: new Float32Array(4) };
  const asPublished = await open(await modelFolder(tensors, blipConfig));
  const wrapped = original(tensors).map(
    ([name, x]) => [`model.${name.replace(/^text_encoder\./, 'text_encoder.bert.')}`, x] as const,
  );
  const copies = ['visual_encoder_m.norm.weight', 'text_encoder_m.bert.x', 'image_queue', 'queue_ptr', 'temp'].map(
    (name) => [`model.${name}`, extra] as const,
  );
  const config = { visual_encoder: { heads: 3 }, text_encoder: { heads: 2 } };
  const asOriginal = await open(await modelFolder([...wrapped, ...copies], config));
  t.equal(asOriginal.kind, 'blip', 'told from the names');
  const place = { layer: 0, heads: [1] };
  const [a, b] = [asPublished, asOriginal].map((model) => model.crossAttention(pixels(), ids, place)) as [
    ReturnType<MatchingModel['crossAttention']>,
    ReturnType<MatchingModel['crossAttention']>,
  ];
  t.same(await host(a.gradient), await host(b.gradient));
  const raw = await loadBackbone(await modelFolder(wrapped, config));
  t.ok(raw.parameters.has('model.visual_encoder.cls_token'), "parameters have the file's names");
  raw.dispose();
  asPublished.dispose();
  asOriginal.dispose();
});

t.test('every gap of the weights is said at once', async (t) => {
  for (const [model, config] of [
    [fusionModel('blip'), blipConfig],
    [new Map(original(fusionModel('albef'))), { model_type: 'albef', ...ownConfig }],
    [mplugModel(), { model_type: 'mplug', ...mplugConfig }],
    [bridgeTowerModel(), bridgeTowerConfig],
  ] as [Tensors, Record<string, unknown>][]) {
    const whole = await loadBackbone(await modelFolder(model, config));
    t.equal(whole.kind, config.model_type);
    t.same([...whole.parameters.keys()].sort(), [...model.keys()].sort());
    whole.dispose();
    const broken = new Map(model);
    const head = [...broken.keys()].find((name) => /^(itm_head|itm_score\.fc)\.weight/.test(name)) as string;
    const layer = [...broken.keys()].find((name) => name.endsWith('crossattention.self.key.bias')) as string;
    broken.delete(head);
    broken.set(layer, { shape: [3], data: new Float32Array(3) });
    broken.set('stray', { shape: [1], data: new Float32Array(1) });
    await t.rejects(loadBackbone(await modelFolder(broken, config)), {
      code: 'E_WEIGHTS',
      details: { missing: [head], unexpected: ['stray'], wrongShape: [{ name: layer, found: [3] }] },
    });
  }
});

t.test('configs', async (t) => {
  const folder = (config: unknown) => modelFolder(original(fusionModel('blip')), config);
  await t.rejects(loadBackbone(await folder({ model_type: 'blip' })), { code: 'E_MODEL_FORMAT', message: /heads/ });
  const wrong = { ...ownConfig, visual_encoder: { heads: 5 } };
  await t.rejects(loadBackbone(await folder(wrong)), { code: 'E_MODEL_FORMAT', message: /24 is not a multiple/ });
  const tiny = { ...blipConfig, vision_config: { ...blipConfig.vision_config, layer_norm_eps: 1e-2 } };
  const last = async (folder: string, visionEps?: number) => {
    const backbone = await loadBackbone(folder, { visionEps });
    const { data } =
      (await backbone.inspect({ pixel_values: picture }, ['vision.last_hidden']))['vision.last_hidden'] ?? {};
    backbone.dispose();
    return data as Float32Array;
  };
  const blip = fusionModel('blip');
  const overridden = await last(await modelFolder(blip, tiny), 1e-6);
  t.same(overridden, await last(await modelFolder(blip, blipConfig)), 'visionEps overrides the config');
  t.notSame(await last(await modelFolder(blip, tiny)), overridden);
  await t.rejects(last('nowhere', 1), { code: 'E_MODEL_NOT_FOUND' });
  await t.rejects(last(await modelFolder(blip, tiny), 1), { code: 'E_OPTION', message: /visionEps/ });
  const zero = { ...blipConfig, vision_config: { patch_size: 0 } };
  await t.rejects(loadBackbone(await folder(zero)), { code: 'E_MODEL_FORMAT', message: /patch_size/ });
  const other = { ...bridgeTowerConfig, link_tower_type: 'interpolate' };
  await t.rejects(loadBackbone(await modelFolder(bridgeTowerModel(), other)), { message: /link_tower_type/ });
  await t.rejects(open(await modelFolder([['x', { shape: [1], data: new Float32Array(1) }]], { model_type: 'clip' })), {
    code: 'E_MODEL_FORMAT',
    message: /match/,
  });
});

t.test('captions', async (t) => {
  const model = await open(await folders.blip());
  const tokens = model.tokenize('A picture of CAT grasses');
  t.same(tokens.pieces, ['[ENC]', 'a', 'picture', 'of', 'cat', 'gr', '##ass', '##es', '[SEP]']);
  t.equal(tokens.ids[0], 15, 'the last row stands for [ENC], behind a table without it');
  t.equal(model.startId, 15);
  t.same(model.tokenize('[SEP]').ids.length > 3, true, 'text never becomes a special token');
  const long = Array.from({ length: 21 }, () => 8);
  const place = { layer: 0, heads: [0] };
  t.throws(() => model.crossAttention(pixels(), long, place), { code: 'E_OPTION', message: /21 tokens.*20/ });
  t.throws(() => model.crossAttention(pixels(), [2, 16, 3], place), { code: 'E_OPTION', message: /16/ });
  t.throws(() => model.crossAttention(pixels(), ids, { layer: 2, heads: [0] }), { code: 'E_OPTION', message: /0, 1/ });
  t.throws(() => model.crossAttention(pixels(), ids, { layer: 0, heads: [2] }), {
    code: 'E_OPTION',
    message: /0 to 1/,
  });
  t.throws(() => model.crossAttention(pixels(), ids, { layer: 0, heads: [] }), { code: 'E_OPTION' });
  model.dispose();
  const table = (extra: string[]) => ['[PAD]', '[UNK]', '[CLS]', '[SEP]', 'a', ...extra];
  const fifteen = Array.from({ length: 10 }, (_, i) => `w${i}`);
  await t.rejects(open(await modelFolder(fusionModel('blip'), blipConfig, table(fifteen))), {
    code: 'E_TOKENIZER',
    message: /\[ENC\]/,
  });
  await t.rejects(open(await modelFolder(fusionModel('blip'), blipConfig, table([...fifteen, 'x', 'y']))), {
    code: 'E_TOKENIZER',
    message: /17 ids/,
  });
  const named = await open(
    await modelFolder(fusionModel('blip'), blipConfig, table([...fifteen.slice(2), '[DEC]', '[ENC]'])),
  );
  t.equal(named.startId, 14);
  named.dispose();
});

t.test('bf16, memory, and any size of picture', async (t) => {
  const folder = await folders.albef();
  const [exact, narrow] = [await open(folder), await open(folder, { compute: 'bf16' })];
  const place = { layer: 2, heads: [0, 1] };
  const before = await heldBytes();
  const run = async (model: MatchingModel, x: Tensor) => {
    const found = model.crossAttention(x, ids, place);
    const result = [await host(found.probabilities), await host(found.gradient)] as const;
    for (const tensor of Object.values(found)) tensor.dispose();
    x.dispose();
    return result;
  };
  const [p, g] = await run(exact, pixels());
  const [p16, g16] = await run(narrow, pixels());
  t.ok(maxError(p16, p) < 0.05 && maxError(g16, g) < 0.1 * top(g), 'bf16 is near');
  const wide = Tensor.from(new Float32Array(3 * 32 * 50).fill(0.3), [1, 3, 32, 50]);
  t.equal((await run(exact, wide))[0].length, 2 * 6 * (1 + 4 * 6));
  for (let i = 0; i < 3; i++) await run(exact, pixels());
  // What stays is the position table of the other grid.
  t.ok((await heldBytes()) - before <= 25 * 24 * 4 + 256, 'nothing is left behind');
  exact.dispose();
  narrow.dispose();
  const table = Tensor.from(Float32Array.from({ length: 10 * 4 }, (_, i) => (i < 4 ? 9 : 0.5)));
  for (const rule of ['exact', 'bilinear', 'plus0.1'] as const) {
    const resized = await host(resizePositions(table.reshape(10, 4), 5, 7, rule));
    t.ok(maxError(resized.subarray(4), new Float32Array(4 * 35).fill(0.5)) < 1e-6, `${rule}: a constant stays one`);
    t.same([...resized.subarray(0, 4)], [9, 9, 9, 9]);
  }
});

t.test('gradients reach every parameter the match logit depends on', async (t) => {
  for (const make of [folders.blip, folders.albef, folders.mplug]) {
    const backbone = await loadBackbone(await make());
    const named = scope(() => {
      const { itm_logits } = backbone.forward({ pixel_values: picture, input_ids: ints(ids) }, ['itm_logits']);
      const grads = backward(sum(itm_logits as Tensor));
      return [...backbone.parameters].filter(([, tensor]) => grads.get(tensor)).map(([name]) => name);
    });
    const without = [...backbone.parameters.keys()].filter((name) => !named.includes(name));
    t.same(
      without.filter((name) => !/^(text|vision)_proj\./.test(name)),
      [],
      backbone.kind,
    );
    backbone.dispose();
  }
});
