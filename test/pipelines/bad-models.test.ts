/** Model folders that are damaged or hostile: each its typed error, at once, and nothing left behind. */
import { cp, mkdir, mkdtemp, readFile, rename, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { open } from '#lib/pipelines/open.js';
import { openSafetensors, writeSafetensors } from '#lib/weights/index.js';
import { clipTinyFolder, needsData } from '../helpers/data.js';
import { heldBytes } from '../helpers/memory.js';
import { waves } from '../helpers/pictures.js';

t.setTimeout(300_000);

const good = needsData.skip ? '' : await clipTinyFolder();

async function spoiled(change: (folder: string) => Promise<unknown>): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'wordmask-bad-'));
  await cp(good, folder, { recursive: true });
  await change(folder);
  return folder;
}

type Values = Map<string, { data: Float32Array; shape: number[] }>;

/** Rewrites the weights after a change. */
const weights = (change: (values: Values) => void) => (folder: string) =>
  rewriteWeights(join(folder, 'model.safetensors'), change);

async function rewriteWeights(path: string, change: (values: Values) => void): Promise<void> {
  const file = await openSafetensors(path);
  const values: Values = new Map();
  for (const name of file.tensors.keys()) {
    const { data, shape } = await file.readArray(name);
    values.set(name, { data: data as Float32Array, shape: [...shape] });
  }
  await file.close();
  change(values);
  await writeSafetensors(path, values);
}

const config = (change: (json: Record<string, any>) => unknown) => async (folder: string) => {
  const json = JSON.parse(await readFile(join(folder, 'config.json'), 'utf8'));
  const text = change(json);
  await writeFile(join(folder, 'config.json'), typeof text === 'string' ? text : JSON.stringify(json));
};

const bytes = (change: (buffer: Buffer) => Buffer) => async (folder: string) => {
  const path = join(folder, 'model.safetensors');
  await writeFile(path, change(await readFile(path)));
};

/** Replaces the header of the weights file and keeps its data. */
const header = (text: (old: string) => string) =>
  bytes((buffer) => {
    const length = Number(buffer.readBigUInt64LE(0));
    const body = Buffer.from(text(buffer.toString('utf8', 8, 8 + length)));
    const size = Buffer.alloc(8);
    size.writeBigUInt64LE(BigInt(body.length));
    return Buffer.concat([size, body, buffer.subarray(8 + length)]);
  });

const q = 'text_model.encoder.layers.0.self_attn.q_proj.weight';

const cases: [string, (folder: string) => Promise<unknown>, string, RegExp][] = [
  [
    'weights cut short',
    (folder) => truncate(join(folder, 'model.safetensors'), 50_000),
    'E_WEIGHTS',
    /model\.safetensors/,
  ],
  ['weights of 5 bytes', (folder) => truncate(join(folder, 'model.safetensors'), 5), 'E_WEIGHTS', /./],
  ['no bytes', (folder) => truncate(join(folder, 'model.safetensors'), 0), 'E_WEIGHTS', /./],
  ['bytes behind the end', bytes((buffer) => Buffer.concat([buffer, Buffer.alloc(64)])), 'E_WEIGHTS', /./],
  [
    'a header length beyond the file',
    bytes((buffer) => (buffer.writeBigUInt64LE(2n ** 40n), buffer)),
    'E_WEIGHTS',
    /./,
  ],
  [
    'a header length that wraps',
    bytes((buffer) => (buffer.writeBigUInt64LE(2n ** 64n - 1n), buffer)),
    'E_WEIGHTS',
    /./,
  ],
  ['a header that is no JSON', header((old) => old.replace('{', '[')), 'E_WEIGHTS', /./],
  [
    'a tensor twice',
    header((old) => old.replace('{', `{"${q}":{"dtype":"F32","shape":[32,32],"data_offsets":[0,4096]},`)),
    'E_WEIGHTS',
    /twice|duplicate|overlap/i,
  ],
  ['a dtype nobody knows', header((old) => old.replace('"F32"', '"F33"')), 'E_WEIGHTS', /F33/],
  ['a dtype of another size', header((old) => old.replace('"F32"', '"F64"')), 'E_WEIGHTS', /./],
  [
    'overlapping tensors',
    header((old) =>
      old.replace(/"data_offsets":\[(\d+),(\d+)\]/, (_, a, b) => `"data_offsets":[${Number(a) + 4},${Number(b) + 4}]`),
    ),
    'E_WEIGHTS',
    /./,
  ],
  [
    'a shape that overflows',
    header((old) => old.replace(/"shape":\[[^\]]*\]/, '"shape":[4294967296,4294967296]')),
    'E_WEIGHTS',
    /./,
  ],
  ['a negative shape', header((old) => old.replace(/"shape":\[[^\]]*\]/, '"shape":[-1]')), 'E_WEIGHTS', /./],
  [
    'NaN',
    weights((values) => ((values.get(q) as { data: Float32Array }).data[35] = Number.NaN)),
    'E_WEIGHTS_VALUE',
    /q_proj\.weight.* holds NaN at \[1, 3\]/,
  ],
  [
    'infinity',
    weights((values) => ((values.get('logit_scale') as { data: Float32Array }).data[0] = -Infinity)),
    'E_WEIGHTS_VALUE',
    /logit_scale.*-Infinity/,
  ],
  [
    'missing, unexpected and wrong shapes',
    weights((values) => {
      values.delete(q);
      values.delete('visual_projection.weight');
      values.set('surprise', { data: new Float32Array(2), shape: [2] });
      values.set('text_model.final_layer_norm.bias', { data: new Float32Array(33), shape: [33] });
      values.set('vision_model.post_layernorm.weight', { data: new Float32Array(64), shape: [8, 8] });
    }),
    'E_WEIGHTS',
    /2 missing: .*q_proj\.weight, visual_projection\.weight; 1 unexpected: surprise; 2 of wrong shape: text_model\.final_layer_norm\.bias is \[33\], must be \[32\], .*\[8, 8\], must be \[64\]/,
  ],
  [
    'weights of another config',
    config((json) => void (json.vision_config.hidden_size = 128)),
    'E_WEIGHTS',
    /of wrong shape/,
  ],
  [
    'absurd width',
    config((json) => void (json.vision_config.hidden_size = 2 ** 40)),
    'E_MODEL_FORMAT',
    /vision_config\.hidden_size/,
  ],
  [
    'absurd layers',
    config((json) => void (json.text_config.num_hidden_layers = 1e9)),
    'E_MODEL_FORMAT',
    /num_hidden_layers/,
  ],
  ['negative patch', config((json) => void (json.vision_config.patch_size = -8)), 'E_MODEL_FORMAT', /patch_size/],
  ['fractions', config((json) => void (json.projection_dim = 23.5)), 'E_MODEL_FORMAT', /projection_dim/],
  ['numbers as text', config((json) => void (json.vision_config.image_size = '32')), 'E_MODEL_FORMAT', /image_size/],
  [
    'heads that do not divide',
    config((json) => void (json.vision_config.num_attention_heads = 7)),
    'E_MODEL_FORMAT',
    /multiple of num_attention_heads/,
  ],
  [
    'an activation nobody knows',
    config((json) => void (json.text_config.hidden_act = 'swish')),
    'E_MODEL_FORMAT',
    /hidden_act/,
  ],
  ['another model', config((json) => void (json.model_type = 'bert')), 'E_MODEL_FORMAT', /bert/],
  [
    'a prototype',
    config((json) => JSON.stringify(json).replace('{', '{"__proto__":{"vision_config":{}},')),
    'E_MODEL_FORMAT',
    /__proto__/,
  ],
  ['config of 100,000 brackets', config(() => '['.repeat(100_000)), 'E_MODEL_FORMAT', /./],
  ['config cut short', config((json) => JSON.stringify(json).slice(0, 200)), 'E_MODEL_FORMAT', /./],
  ['config that is a list', config(() => '[]'), 'E_MODEL_FORMAT', /./],
  ['no config', (folder) => rm(join(folder, 'config.json')), 'E_MODEL_FORMAT', /config\.json/],
  ['no weights', (folder) => rm(join(folder, 'model.safetensors')), 'E_MODEL_FORMAT', /safetensors/],
  [
    'a pickle instead',
    async (folder) => {
      await rm(join(folder, 'model.safetensors'));
      await writeFile(join(folder, 'pytorch_model.bin'), Buffer.from('\x80\x02}q\x00.', 'latin1'));
    },
    'E_PICKLE_FORBIDDEN',
    /./,
  ],
  ['no tokenizer', (folder) => rm(join(folder, 'bpe_simple_vocab_16e6.txt.gz')), 'E_TOKENIZER', /./],
  [
    'a tokenizer of noise',
    (folder) => writeFile(join(folder, 'bpe_simple_vocab_16e6.txt.gz'), Buffer.alloc(5000, 0x5a)),
    'E_TOKENIZER',
    /./,
  ],
  [
    'weights outside the folder',
    async (folder) => {
      const elsewhere = await mkdtemp(join(tmpdir(), 'wordmask-elsewhere-'));
      await rename(join(folder, 'model.safetensors'), join(elsewhere, 'model.safetensors'));
      await symlink(join(elsewhere, 'model.safetensors'), join(folder, 'model.safetensors'));
    },
    'E_MODEL_FORMAT',
    /outside|leads/,
  ],
  [
    'config outside the folder',
    async (folder) => {
      await rm(join(folder, 'config.json'));
      await symlink('/etc/passwd', join(folder, 'config.json'));
    },
    'E_MODEL_FORMAT',
    /outside|leads/,
  ],
  [
    'a manifest that points outside',
    (folder) =>
      writeFile(
        join(folder, 'wordmask.json'),
        JSON.stringify({
          format: 1,
          system: 'naclip',
          encoders: { 'image-text': { weights: '../../etc/shadow.safetensors' } },
        }),
      ),
    'E_MODEL_FORMAT',
    /./,
  ],
  [
    'options of a manifest that nobody knows',
    (folder) =>
      writeFile(
        join(folder, 'wordmask.json'),
        JSON.stringify({ format: 1, system: 'naclip', defaults: { sigmaa: 3 } }),
      ),
    'E_OPTION',
    /did you mean 'sigma'/,
  ],
  [
    'a folder where the weights should be',
    async (folder) => {
      await rm(join(folder, 'model.safetensors'));
      await mkdir(join(folder, 'model.safetensors'));
    },
    'E_WEIGHTS',
    /folder/,
  ],
];

t.test('each its error', needsData, async (t) => {
  const before = await heldBytes();
  for (const [name, change, code, message] of cases) {
    const folder = await spoiled(change);
    await t.rejects(
      open(`naclip:${folder}`).then(async (model) => {
        // What the folder's own options say counts from the first call on.
        try {
          await model.segment(waves(20, 20), ['cat']);
        } finally {
          await model.dispose();
        }
      }),
      { name: 'WordmaskError', code, message },
      name,
    );
    await rm(folder, { recursive: true });
  }
  t.equal(await heldBytes(), before, 'nothing is left of them');
  const model = await open(`naclip:${good}`);
  t.equal((await model.segment(waves(20, 20), ['cat'])).labels.length, 400, 'a good folder works');
  await model.dispose();
});

t.test('names of models', needsData, async (t) => {
  for (const [name, code] of [
    ['', 'E_MODEL_ID'],
    ['naclip:', 'E_MODEL_ID'],
    ['naclip:../../no-such-folder', 'E_MODEL_NOT_FOUND'],
    ['nacilp:./x', 'E_MODEL_ID'],
    ['./does/not/exist', 'E_MODEL_NOT_FOUND'],
    ['org/name@../../x', 'E_MODEL_ID'],
    ['a/b/c', 'E_MODEL_ID'],
    ['naclip:org\0/x', 'E_MODEL_ID'],
    ['x'.repeat(5000), 'E_MODEL_ID'],
    ['openai/no-such-model-here', 'E_MODEL_NOT_FOUND'],
    [good + '/config.json', 'E_MODEL_NOT_FOUND'],
    [7, 'E_MODEL_ID'],
    [undefined, 'E_MODEL_ID'],
  ] as [string, string][]) {
    await t.rejects(
      open(name, { cacheDir: join(tmpdir(), 'wordmask-no-cache') }),
      { name: 'WordmaskError', code },
      String(name).slice(0, 40),
    );
  }
});

t.test('weights that are not checked', needsData, async (t) => {
  const folder = await spoiled(
    weights((values) =>
      (values.get('vision_model.post_layernorm.weight') as { data: Float32Array }).data.fill(Number.NaN),
    ),
  );
  const model = await open(`naclip:${folder}`, { checkWeights: false });
  for (const refine of ['none', 'pamr', { name: 'crf', iterations: 1 }] as const) {
    await t.rejects(
      model.segment(waves(40, 40), ['cat', 'dog'], { shortSide: 64, crop: 32, stride: 16, refine: refine as never }),
      { code: 'E_NUMERIC', message: /not finite|NaN/ },
    );
  }
  await model.dispose();
  const text = await open(
    `naclip:${await spoiled(weights((values) => (values.get('text_projection.weight') as { data: Float32Array }).data.fill(Number.NaN)))}`,
    { checkWeights: false },
  );
  await t.rejects(text.segment(waves(40, 40), ['cat', 'dog'], { shortSide: 64, crop: 32, stride: 16 }), {
    code: 'E_NUMERIC',
  });
  await text.dispose();
});

t.test('weights that become shorter while the model is open', needsData, async (t) => {
  const folder = await spoiled(async () => undefined);
  const path = join(folder, 'model.safetensors');
  const whole = await readFile(path);
  const before = await heldBytes();
  const model = await open(`clip:${folder}`);
  await model.segment(waves(20, 20), ['cat'], { refine: 'none' });
  await truncate(path, 4096);
  for (let i = 0; i < 2; i++)
    await t.rejects(model.segment(waves(20, 20), [`new word ${i}`], { refine: 'none' }), {
      code: 'E_DISK',
      message: /model\.safetensors became shorter/,
    });
  await model.dispose();
  await writeFile(path, whole);
  const again = await open(`clip:${folder}`);
  await again.segment(waves(20, 20), ['new word'], { refine: 'none' });
  await again.dispose();
  t.equal(await heldBytes(), before);
});
