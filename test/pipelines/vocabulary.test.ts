/** Vocabularies with their features: what is encoded, kept, carried over, stored and refused. */
import { copyFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import type { Model } from '#lib/pipelines/model.js';
import { open } from '#lib/pipelines/open.js';
import type { SegmentOptions } from '#lib/pipelines/segment-options.js';
import { Vocabulary } from '#lib/pipelines/vocabulary.js';
import { openSafetensors, writeSafetensors } from '#lib/weights/index.js';
import { clipTinyFolder, needsData } from '../helpers/data.js';
import { differences, waves, words } from '../helpers/pictures.js';

t.setTimeout(300_000);

const folder = needsData.skip ? '' : await clipTinyFolder();
const scratch = await mkdtemp(join(tmpdir(), 'wordmask-vocabulary-'));
const small: SegmentOptions = { shortSide: 64, crop: 32, stride: 16, refine: 'none', outputs: ['score'] };
const picture = waves(60, 44);

/** Prompts that `fn` had the text tower encode. */
async function encoded(model: Model, fn: () => Promise<unknown>): Promise<number> {
  const before = model.dense.text.stats.misses;
  await fn();
  return model.dense.text.stats.misses - before;
}

/** The same weights but for one value, so that another encoder it is. */
async function otherEncoder(): Promise<string> {
  const other = await clipTinyFolder();
  const bytes = await readFile(join(other, 'model.safetensors'));
  bytes.writeFloatLE(bytes.readFloatLE(bytes.length - 4) + 0.25, bytes.length - 4);
  await writeFile(join(other, 'model.safetensors'), bytes);
  return other;
}

t.test('only new prompts are encoded', needsData, async (t) => {
  const model = await open(`naclip:${folder}`);
  const labels = words(10);
  let vocab = Vocabulary.from(labels, { templates: 'clip7' });
  t.equal(await encoded(model, () => model.vocabulary(vocab)), 10);
  t.equal(await encoded(model, () => model.segment(picture, vocab, small)), 0);
  t.equal(
    await encoded(model, () => model.segment(picture, Vocabulary.from(labels, { templates: 'clip7' }), small)),
    0,
    'the model remembers strings',
  );
  t.equal(await encoded(model, () => model.vocabulary([...labels, 'kite'], { templates: 'clip7' })), 1);
  t.equal(
    await encoded(model, () => model.vocabulary(labels, { templates: 'none' })),
    10,
    'other templates are other texts',
  );
  t.equal(
    await encoded(model, () => model.vocabulary(['a|b', { name: 'c', prompts: ['a', 'd'] }], { templates: 'none' })),
    3,
    'a word of two labels is one text',
  );

  const fresh = await open(`naclip:${folder}`);
  await model.vocabulary(vocab);
  t.equal(
    await encoded(fresh, () => fresh.segment(picture, vocab, small)),
    0,
    'features belong to the weights, not to the opened model',
  );
  vocab = vocab
    .add(['kite', 'boat'])
    .remove([labels[0] as string])
    .subset(['boat', labels[3] as string, labels[5] as string]);
  t.same(
    vocab.labels.map(({ name }) => name),
    ['boat', labels[3], labels[5]],
  );
  t.equal(
    await encoded(fresh, () => fresh.vocabulary(vocab)),
    1,
    'derived vocabularies carry the features of the words they share',
  );
  const again = Vocabulary.from(['boat', labels[3] as string, labels[5] as string], { templates: 'clip7' });
  t.same(differences(await fresh.segment(picture, vocab, small), await model.segment(picture, again, small)), []);
  t.equal(vocab.hash, again.hash);
  t.not(vocab.hash, vocab.configure({ background: { mode: 'none' } }).hash);
  t.equal(await encoded(fresh, () => fresh.vocabulary(vocab.configure({ ensemble: 'mean', background: 'none' }))), 0);
  await Promise.all([model.dispose(), fresh.dispose()]);
});

t.test('saved and loaded', needsData, async (t) => {
  const model = await open(`naclip:${folder}`);
  const labels = [
    'cat|kitten',
    { name: 'dog', color: '#102030', thing: true },
    { name: 'rest', background: true, prompts: ['wall', 'floor'] },
  ];
  const vocab = await model.vocabulary(labels, {
    templates: ['a {}.', 'the {}!'],
    ensemble: 'mean',
    background: { mode: 'threshold', value: 0.3 },
  });
  const file = join(scratch, 'pets.json');
  await vocab.save(file);
  const loaded = await Vocabulary.load(file);
  t.equal(loaded.hash, vocab.hash);
  t.same(loaded.labels, vocab.labels);
  t.same(loaded.legend(), vocab.legend());
  const expected = await model.segment(picture, vocab, small);
  const fresh = await open(`naclip:${folder}`);
  t.equal(
    await encoded(fresh, async () => t.same(differences(await fresh.segment(picture, loaded, small), expected), [])),
    0,
    'nothing is encoded again',
  );
  t.equal(await encoded(fresh, () => fresh.vocabulary(loaded.add(['bird']))), 1, 'one new word, one text');
  loaded.dispose();
  t.equal(
    await encoded(fresh, async () => t.same(differences(await fresh.segment(picture, loaded, small), expected), [])),
    5,
    'disposed of: made again',
  );

  const plain = join(scratch, 'plain.json');
  await Vocabulary.from(labels).save(plain);
  t.equal((await Vocabulary.load(plain)).encoders.length, 0, 'without features');
  await copyFile(file, join(scratch, 'alone.json'));
  t.same(
    differences(await fresh.segment(picture, await Vocabulary.load(join(scratch, 'alone.json')), small), expected),
    [],
    'a JSON file without its features is compiled',
  );
  await vocab.save(file);
  t.same(
    differences(await fresh.segment(picture, await Vocabulary.load(file), small), expected),
    [],
    'saved over itself',
  );
  await Promise.all([model.dispose(), fresh.dispose()]);
});

t.test('features of others are refused', needsData, async (t) => {
  const model = await open(`naclip:${folder}`);
  const other = await open(`naclip:${await otherEncoder()}`);
  const file = join(scratch, 'mine.json');
  await (await model.vocabulary(['cat', 'dog'], { templates: 'none' })).save(file);
  const wrong = { code: 'E_VOCAB', message: /mine\.safetensors: .*another encoder.*features: false/ };
  const loaded = await Vocabulary.load(file);
  await t.rejects(other.segment(picture, loaded, small), wrong);
  await t.rejects(other.vocabulary(loaded), wrong);
  await t.rejects(other.segment(picture, loaded.add(['bird']), small), wrong, 'derived ones too');
  t.ok(await model.segment(picture, loaded, small), 'its own encoder takes it');
  t.ok(await other.segment(picture, await Vocabulary.load(file, { features: false }), small));
  // Another averaging of the same encoder is not another encoder: those features are made.
  const clip = await open(`maskclip:${folder}`);
  t.ok(await clip.segment(picture, loaded, { ...small, averaging: 'mean-normalise' }));

  const features = join(scratch, 'mine.safetensors');
  const rewrite = async (shape: [number, number], metadata?: Record<string, string>) =>
    writeSafetensors(features, [['text_features', { data: new Float32Array(shape[0] * shape[1]).fill(0.2), shape }]], {
      metadata,
    });
  const kept = await openSafetensors(features);
  const metadata = Object.fromEntries(kept.metadata);
  await kept.close();
  t.match(metadata, { encoder: model.info.hash, prompts: /^[0-9a-f]{64}$/ });
  await rewrite([3, 24], metadata);
  await t.rejects(Vocabulary.load(file), { code: 'E_VOCAB', message: /\[2, E\].*\[3, 24\]/ });
  await rewrite([2, 7], metadata);
  await t.rejects(model.segment(picture, await Vocabulary.load(file), small), {
    code: 'E_VOCAB',
    message: /7 values.*24/,
  });
  await rewrite([2, 24], { ...metadata, prompts: '0'.repeat(64) });
  await t.rejects(Vocabulary.load(file), { code: 'E_VOCAB', message: /other words/ });
  await rewrite([2, 24]);
  t.ok(
    await model.segment(picture, await Vocabulary.load(file), small),
    'a file without our metadata is taken by its key',
  );
  await t.rejects(other.segment(picture, await Vocabulary.load(file), small), { code: 'E_VOCAB' });
  await writeFile(features, 'no tensors');
  await t.rejects(Vocabulary.load(file), { code: 'E_WEIGHTS' });
  await rm(features);
  t.ok(await other.segment(picture, await Vocabulary.load(file), small), 'no features, no question');
  await Promise.all([model.dispose(), other.dispose(), clip.dispose()]);
});

t.test('broken files', async (t) => {
  const file = join(scratch, 'broken.json');
  const good = { format: 'wordmask-vocabulary/1', labels: [{ name: 'cat', prompts: ['cat'] }] };
  for (const [content, code] of [
    ['', 'E_VOCAB'],
    ['{', 'E_VOCAB'],
    ['[]', 'E_VOCAB'],
    ['null', 'E_VOCAB'],
    [JSON.stringify({ ...good, format: 'wordmask-vocabulary/9' }), 'E_VOCAB'],
    [JSON.stringify({ ...good, lables: [] }), 'E_VOCAB'],
    [JSON.stringify({ ...good, encoder: '../x' }), 'E_VOCAB'],
    [JSON.stringify({ ...good, labels: [] }), 'E_VOCAB'],
    [JSON.stringify({ ...good, labels: ['a', 'A'] }), 'E_LABEL'],
    [JSON.stringify({ ...good, labels: 7 }), 'E_VOCAB'],
    ['{"format":"wordmask-vocabulary/1","__proto__":{"x":1},"labels":["a"]}', 'E_VOCAB'],
    [JSON.stringify({ ...good, background: { mode: 'x' } }), 'E_OPTION'],
    ['{"format":"wordmask-vocabulary/1","format":"wordmask-vocabulary/1","labels":["a"]}', 'E_VOCAB'],
    [`{"format":"wordmask-vocabulary/1","labels":${'['.repeat(100_000)}`, 'E_VOCAB'],
  ] as const) {
    await writeFile(file, content);
    await t.rejects(Vocabulary.load(file), { code }, content.slice(0, 70));
  }
  await t.rejects(Vocabulary.load(join(scratch, 'none.json')), { name: 'WordmaskError' });
  await t.rejects(Vocabulary.load(scratch), { name: 'WordmaskError' });
});

t.test('labels that ask for trouble', needsData, async (t) => {
  const model = await open(`naclip:${folder}`);
  const quick = async (labels: unknown, code: string, message: RegExp) => {
    await t.rejects(model.segment(picture, labels as string[], small), { code, message });
  };
  await quick([], 'E_VOCAB', /no labels/);
  await quick(
    Array.from({ length: 10_001 }, (_, i) => `w${i}`),
    'E_VOCAB',
    /10001.*10000/,
  );
  await quick(['a'.repeat(1 << 20)], 'E_LABEL', /1048576 bytes.*limit/);
  await quick(['x'.repeat(1025)], 'E_LABEL', /1024/);
  await quick(['half \ud800 pair'], 'E_LABEL', /surrogate/);
  await quick(['cat', ' CAT '], 'E_LABEL', /given twice/);
  await quick(['cat', ''], 'E_LABEL', /label 1/);
  await quick(['cat', ' | '], 'E_LABEL', /label 1/);
  await quick([7], 'E_LABEL', /label 0/);
  await quick([{ name: 'cat', promts: ['x'] }], 'E_LABEL', /did you mean prompts/);
  await quick([{ name: 'cat', prompts: Array.from({ length: 65 }, (_, i) => `p${i}`) }], 'E_VOCAB', /65.*64/);
  await quick([{ name: 'background', background: true }], 'E_VOCAB', /no words/);
  await quick({ length: 2 }, 'E_USAGE', /list/);

  // What looks like a special token stays text: it neither ends the text nor becomes one token.
  const tokens = [
    '<|endoftext|>',
    '<|startoftext|> cat <|endoftext|> dog',
    '<pad>',
    '\u0000\u0001 x',
    '🐈‍⬛ ネコ',
    'a'.repeat(1000),
    '-1',
    '__proto__',
    'constructor',
    '%s {} $& $1',
  ].map((name) => ({ name }));
  const result = await model.segment(picture, Vocabulary.from(tokens, { templates: 'clip7' }), small);
  t.equal(result.legend().length, tokens.length);
  t.match(result.warnings, [/cut|long/], 'the long one was cut, and it is said');
  const rows = (
    await model.dense.compile(
      Vocabulary.from(
        ['<|endoftext|>', 'endoftext', 'cat <|endoftext|> dog', 'cat'].map((name) => ({ name })),
        { templates: 'none' },
      ),
      model.dense.options(),
    )
  ).rows;
  const distance = (a = 0, b = 0) =>
    Math.hypot(...Array.from(rows[a] as Float32Array, (x, i) => x - (rows[b]?.[i] as number)));
  t.ok(distance(2, 3) > 1e-3, 'words behind it are read');
  t.ok(distance(0, 3) > 1e-3);
  const many = await model.segment(
    picture,
    Vocabulary.from(
      Array.from({ length: 10_000 }, (_, i) => `w${i}`),
      { templates: 'none' },
    ),
    small,
  );
  t.ok(many.labels instanceof Uint16Array && many.labels.every((label) => label < 10_000), '10,000 labels work');
  await model.dispose();
});
