/** Model names and model folders. */
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { assertVerified, readModelFolder, verifyFolder } from '#lib/registry/folder.js';
import { readManifest, writeManifest } from '#lib/registry/manifest.js';
import { parseModelName } from '#lib/registry/names.js';
import { WordmaskError } from '#lib/util/errors.js';
import { sha256 } from '#lib/util/files.js';
import { writeSafetensors } from '#lib/weights/index.js';

const context = {
  systems: ['naclip', 'sclip', 'clip-as-rnn'],
  names: new Map<string, string | null>([
    ['tiny', null],
    ['naclip-vit-b16', 'naclip:openai/clip-vit-base-patch16'],
  ]),
};

t.test('names', async (t) => {
  const parse = (text: string, system?: string): unknown => parseModelName(text, { ...context, system });
  const hub = { kind: 'hub', id: 'openai/clip-vit-base-patch16' };
  t.same(parse('naclip:openai/clip-vit-base-patch16'), { system: 'naclip', weights: hub });
  t.same(parse('openai/clip-vit-base-patch16@refs/pr/21'), {
    system: undefined,
    weights: { ...hub, revision: 'refs/pr/21' },
  });
  t.same(parse('openai/clip-vit-base-patch16', 'sclip'), { system: 'sclip', weights: hub });
  t.same(parse('clip-as-rnn:./run:7'), { system: 'clip-as-rnn', weights: { kind: 'path', path: './run:7' } });
  t.same(parse('../models/naclip:x'), { system: undefined, weights: { kind: 'path', path: '../models/naclip:x' } });
  t.same(parse('/m'), { system: undefined, weights: { kind: 'path', path: '/m' } });
  t.same(parse('tiny'), { system: undefined, weights: { kind: 'builtin', name: 'tiny' } });
  t.same(parse('sclip:tiny'), { system: 'sclip', weights: { kind: 'builtin', name: 'tiny' } });
  t.same(parse('naclip-vit-b16'), { system: 'naclip', weights: hub });
  t.same(parse('sclip:naclip-vit-b16'), { system: 'sclip', weights: hub });
  t.same(parse('naclip-vit-b16', 'sclip'), { system: 'sclip', weights: hub });
  t.throws(() => parse('naclp:tiny'), { code: 'E_MODEL_ID', message: /did you mean "naclip"/ });
  t.throws(() => parse('tiny', 'naclp'), { code: 'E_MODEL_ID', message: /did you mean "naclip"/ });
  t.throws(() => parse('naclip:tiny', 'sclip'), { code: 'E_USAGE' });
  t.throws(() => parse('tinny'), { code: 'E_MODEL_NOT_FOUND', message: /did you mean "tiny"/ });
  for (const bad of [
    '',
    'naclip:',
    'a/b/c',
    'openai/..',
    'openai/../../etc',
    'naclip:openai/a\0b',
    'a//b',
    'openai/clip@..',
    'open ai/clip',
    'naclip:sclip:tiny',
    'x'.repeat(5000),
    '\ud800/a',
    'é/a',
    'a/b@a..b',
    '-a/b',
    '~/.ssh/x',
  ]) {
    t.throws(
      () => parse(bad),
      { code: 'E_MODEL_ID', message: /ORG\/NAME|not a system/ },
      JSON.stringify(bad.slice(0, 20)),
    );
  }
  fc.assert(
    fc.property(
      fc.oneof(fc.string({ unit: 'binary', maxLength: 30 }), fc.stringMatching(/^[a-z.:@/-]{0,20}$/)),
      (text) => {
        try {
          const { weights } = parseModelName(text, context);
          if (weights.kind === 'hub' && /\.\./.test(weights.id + (weights.revision ?? '')))
            throw new Error('traversal');
        } catch (error) {
          if (!(error instanceof WordmaskError) || !['E_MODEL_ID', 'E_MODEL_NOT_FOUND'].includes(error.code))
            throw error;
        }
      },
    ),
    { numRuns: 1000 },
  );
});

t.test('folders', async (t) => {
  const root = await mkdtemp(join(tmpdir(), 'wm-'));
  t.teardown(() => rm(root, { recursive: true, force: true }));
  const weights = await writeSafetensors(null, [['w', { shape: [1], data: Float32Array.of(1) }]]);
  let count = 0;
  const make = async (files: Record<string, string | Uint8Array>): Promise<string> => {
    const dir = join(root, `m${count++}`);
    await mkdir(dir);
    for (const [name, content] of Object.entries(files)) await writeFile(join(dir, name), content);
    return dir;
  };
  const config = '{"model_type":"clip","text_config":{"hidden_size":32}}';
  const plain = await make({ 'config.json': config, 'model.safetensors': weights });
  const found = await readModelFolder(plain);
  t.same(
    [found.modelType, found.weights, found.tokenizer, found.manifest],
    ['clip', join(plain, 'model.safetensors'), plain, { format: 1 }],
  );
  t.equal(
    (await readModelFolder(await make({ 'config.json': config, 'other.safetensors': weights }))).weights.endsWith(
      'other.safetensors',
    ),
    true,
  );
  t.match(
    (await readModelFolder(await make({ 'config.json': config, 'model.safetensors.index.json': '{}' }))).weights,
    /index\.json$/,
  );

  const refused = async (
    files: Record<string, string | Uint8Array>,
    message: RegExp,
    code = 'E_MODEL_FORMAT',
  ): Promise<void> => {
    await t.rejects(readModelFolder(await make(files)), { code, message }, String(message));
  };
  await t.rejects(readModelFolder(join(root, 'none')), { code: 'E_MODEL_NOT_FOUND' });
  await t.rejects(readModelFolder(join(plain, 'config.json')), { code: 'E_MODEL_NOT_FOUND', message: /is a file/ });
  await refused({}, /no config\.json and no wordmask\.json/);
  await refused({ 'config.json': '[]', 'model.safetensors': weights }, /JSON object/);
  await refused({ 'config.json': '{"model_type":"clip","model_type":"bert"}', 'model.safetensors': weights }, /twice/);
  await refused(
    { 'config.json': '{"model_type":"clip","__proto__":{"a":1}}', 'model.safetensors': weights },
    /forbidden key "__proto__"/,
  );
  await refused(
    { 'config.json': '{"model_type":"clip","text_config":{"constructor":1}}', 'model.safetensors': weights },
    /forbidden key "text_config\.constructor"/,
  );
  await refused({ 'config.json': '{"model_type":7}', 'model.safetensors': weights }, /model_type 7/);
  await refused({ 'config.json': '{}', 'model.safetensors': weights }, /model_type undefined/);
  await refused({ 'config.json': config }, /no \*\.safetensors/);
  await refused({ 'config.json': config, 'a.safetensors': weights, 'b.safetensors': weights }, /several weights/);
  await refused(
    { 'config.json': config, 'pytorch_model.bin': Uint8Array.of(0x80, 2) },
    /old form/,
    'E_PICKLE_FORBIDDEN',
  );
  await refused({ 'config.json': `{"a":"${'x'.repeat(17 << 20)}"}` }, /at most 16777216/);

  const linked = await make({ 'config.json': config });
  await symlink(join(plain, 'model.safetensors'), join(linked, 'model.safetensors'));
  await t.rejects(readModelFolder(linked), { code: 'E_MODEL_FORMAT', message: /leads out of/ });
  const tokenizer = await make({ 'config.json': config, 'model.safetensors': weights });
  await symlink('/etc/hostname', join(tokenizer, 'vocab.json'));
  await t.rejects(readModelFolder(tokenizer), { code: 'E_MODEL_FORMAT', message: /vocab\.json/ });
  await symlink('nowhere', join(plain, 'vocab.txt'));
  await t.rejects(readModelFolder(plain), { code: 'E_MODEL_FORMAT', message: /vocab\.txt is missing/ });
});

t.test('wordmask.json', async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'wm-'));
  t.teardown(() => rm(dir, { recursive: true, force: true }));
  const path = join(dir, 'wordmask.json');
  const weights = await writeSafetensors(null, [['w', { shape: [1], data: Float32Array.of(1) }]]);
  await writeFile(join(dir, 'model.safetensors'), weights);
  await writeFile(join(dir, 'config.json'), '{"model_type":"clip"}');
  const manifest = {
    format: 1 as const,
    system: 'naclip',
    templates: 'clip80',
    defaults: { sigma: 5, pamr: { steps: 10 } },
    licence: 'MIT',
    source: { id: 'a/b', revision: 'main' },
    files: { 'model.safetensors': { sha256: sha256(weights), bytes: weights.length } },
  };
  await writeManifest(path, manifest);
  t.same(await readManifest(path), manifest);
  t.same((await readModelFolder(dir)).manifest, manifest);
  t.same(
    (await verifyFolder(dir)).map(({ file, status }) => [file, status]),
    [
      ['config.json', 'unknown'],
      ['model.safetensors', 'ok'],
    ],
  );
  await writeManifest(path, {
    ...manifest,
    files: {
      'model.safetensors': { sha256: '0'.repeat(64), bytes: 3 },
      'gone.safetensors': { sha256: '0'.repeat(64), bytes: 3 },
    },
  });
  const checks = await verifyFolder(dir);
  t.throws(() => assertVerified(dir, checks), {
    code: 'E_HASH',
    message: /gone\.safetensors is missing; model\.safetensors has/,
  });
  for (const [text, message] of [
    ['{"format":2}', /format/],
    ['{"format":1,"sytem":"x"}', /unknown key "sytem" \(did you mean system\?\)/],
    ['{"format":1,"system":"../x"}', /system/],
    ['{"format":1,"files":{"../../etc/passwd":{"sha256":"00","bytes":1}}}', /files/],
    ['{"format":1,"encoders":{"image-text":{"weights":"/etc/passwd"}}}', /plain file name/],
    ['{"format":1,"encoders":{"image-text":{"weights":"a/../../b"}}}', /plain file name/],
    ['{"format":1,"preprocessing":{"shortSide":1e9}}', /shortSide/],
    ['{"format":1,"preprocessing":{"mean":[1,2]}}', /mean/],
    ['{"format":1,"defaults":{"__proto__":1}}', /forbidden key/],
    ['{"format":1,"format":1}', /twice/],
  ] as [string, RegExp][]) {
    await writeFile(path, text);
    await t.rejects(readModelFolder(dir), { code: 'E_MODEL_FORMAT', message }, text);
  }
});
