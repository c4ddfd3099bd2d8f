/** Tokens, templates and text features by the package's own name, against the published tokenizers and text tower. */
import { copyFile, mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { open } from 'wordmask';
import { loadBackbone } from 'wordmask/backbones';
import { classes, loadTokenizer, templates } from 'wordmask/text';
import { clipTinyFolder, data, type Loaded, loadAll, maxError, needsData } from '../helpers/data.js';
import { mini, miniFolder } from '../helpers/fixture.js';

interface TokenCase {
  text: string;
  clip: number[];
  clip_truncated_77: number[];
  bert: number[];
  roberta: number[];
}

t.test('token cases', needsData, async (t) => {
  const folder = t.testdir();
  const files = {
    clip: { 'bpe_simple_vocab_16e6.txt.gz': 'bpe_simple_vocab_16e6.txt.gz' },
    bert: { 'bert-base-uncased-vocab.txt': 'vocab.txt' },
    roberta: { 'roberta-base-vocab.json': 'vocab.json', 'gpt2-merges.txt': 'merges.txt' },
  };
  for (const [kind, names] of Object.entries(files)) {
    await mkdir(join(folder, kind));
    for (const [from, to] of Object.entries(names)) await copyFile(data('vocab', from), join(folder, kind, to));
  }
  const { cases } = JSON.parse(await readFile(data('vocab/token-cases.json'), 'utf8')) as { cases: TokenCase[] };
  for (const kind of ['clip', 'bert', 'roberta'] as const) {
    const tokenizer = await loadTokenizer(join(folder, kind));
    t.equal(tokenizer.kind, kind);
    // The published tokenizers read names of special tokens inside a text as these tokens; a user's text never becomes one.
    for (const item of cases)
      t.same(
        tokenizer.encode(item.text, { specialTokens: kind === 'clip' }),
        item[kind],
        `${kind}: ${JSON.stringify(item.text.slice(0, 40))}`,
      );
    t.same(
      tokenizer.encode(
        cases.map(({ text }) => text),
        { specialTokens: kind === 'clip' },
      ),
      cases.map((item) => item[kind]),
      `${kind}: together`,
    );
    if (kind === 'clip')
      for (const item of cases)
        t.same(tokenizer.encode(item.text, { specialTokens: true, maxLength: 77 }), item.clip_truncated_77);
  }
  const clip = await loadTokenizer(join(folder, 'clip'));
  const guarded = clip.encode('<|startoftext|>x<|endoftext|>');
  t.equal(guarded.filter((id) => id >= 49406).length, 2, 'only the frame is special');
});

t.test('templates and class lists', async (t) => {
  t.equal(templates.clip80?.length ?? templates['imagenet-80']?.length, 80);
  for (const [name, list] of Object.entries(templates))
    t.ok(list.length > 0 && list.every((text) => text.split('{}').length === 2), name);
  t.same(
    [classes.voc21?.length, classes.ade150?.length, classes.cityscapes?.length, classes.pc59?.length],
    [21, 150, 19, 59],
  );
});

const reference = 'systems/text-features/clip-tiny';

t.test('text features of the template sets', needsData, async (t) => {
  const note = JSON.parse(await readFile(data(reference, 'note.json'), 'utf8')) as {
    names: string[];
    classes: string[][];
    template_sets: string[];
  };
  const expected = await loadAll(data(reference, 'expected.safetensors'));
  const folder = await clipTinyFolder();
  const tokenizer = await loadTokenizer(folder);
  const backbone = await loadBackbone(folder);
  await using model = await open(`naclip:${folder}`);
  const image = { data: new Uint8Array(64 * 64 * 3), width: 64, height: 64, channels: 3 };
  for (const set of note.template_sets) {
    const list = templates[set] as readonly string[];
    const ids = expected.get(`${set}.token_ids`) as Loaded;
    const [, count, length] = ids.shape as [number, number, number];
    t.equal(list.length, count, `${set}: templates`);
    note.names.forEach((name, n) => {
      const found = tokenizer
        .encode(list.map((template) => template.replace('{}', name)))
        .flatMap((row) => [...row, ...new Array<number>(length - row.length).fill(0)]);
      t.same(found, [...ids.data.subarray(n * count * length, (n + 1) * count * length)], `${set}: ids of ${name}`);
    });
    const single = await backbone.encodeText(list.map((template) => template.replace('{}', note.names[0] as string)));
    const want = unit(expected.get(`${set}.template_features_first_name`) as Loaded);
    t.ok(maxError(single.data, want) < 1e-5, `${set}: features of each template`);
    const vocabulary = await model.vocabulary(
      note.classes.map((prompts, i) => ({ name: `${i}`, prompts })),
      { templates: set },
    );
    for (const rule of ['normalise_mean_normalise', 'mean_normalise']) {
      const values = await model.trace(image, vocabulary, ['query_features', 'query_to_class'], {
        averaging: rule.replaceAll('_', '-'),
      });
      const rows = expected.get(`${set}.${rule}`) as Loaded;
      t.same(values.query_features?.shape, rows.shape);
      const error = maxError(values.query_features?.data ?? [], rows.data);
      t.ok(error < 1e-5, `${set}, ${rule}: error ${error.toExponential(1)}`);
      t.same(Array.from(values.query_to_class?.data ?? []), [...(expected.get('query_to_class') as Loaded).data]);
    }
  }
  backbone.dispose();
});

t.test('captions longer than the text tower', needsData, async (t) => {
  const { captions } = JSON.parse(await readFile(data(reference, 'note.json'), 'utf8')) as { captions: string[] };
  const expected = await loadAll(data(reference, 'expected.safetensors'));
  const ids = expected.get('captions.token_ids') as Loaded;
  const folder = await clipTinyFolder();
  const found = (await loadTokenizer(folder)).encode(captions, { maxLength: 77 });
  found.forEach((row, i) => {
    t.same(
      [...row, ...new Array<number>(77 - row.length).fill(0)],
      [...ids.data.subarray(77 * i, 77 * (i + 1))],
      `ids of caption ${i}`,
    );
    t.equal(row.at(-1), 49407, 'the end token is kept');
  });
  const backbone = await loadBackbone(folder);
  const error = maxError((await backbone.encodeText(captions)).data, unit(expected.get('captions.features') as Loaded));
  t.ok(error < 1e-5, `features: error ${error.toExponential(1)}`);
  backbone.dispose();
});

t.test('the small model: words to features, alone and in a vocabulary', async (t) => {
  const expected = await loadAll(mini('expected.safetensors'));
  const tokens = JSON.parse(await readFile(mini('tokens.json'), 'utf8')) as { text: string }[];
  const backbone = await loadBackbone(miniFolder());
  const texts = tokens.slice(0, 3).map(({ text }) => text);
  const found = await backbone.encodeText(texts);
  t.ok(maxError(found.data, (expected.get('text_embeds') as Loaded).data) < 1e-5, 'as the published model');
  for (const [i, text] of texts.entries()) {
    const alone = await backbone.encodeText(text);
    t.same(alone.data, found.data.slice(16 * i, 16 * (i + 1)), 'the same bytes alone');
  }
  await using model = await open(miniFolder());
  const vocabulary = await model.vocabulary(texts, { templates: 'none' });
  const { query_features: rows } = await model.trace(mini('scene.png'), vocabulary, ['query_features']);
  t.ok(maxError(rows?.data ?? [], found.data) < 1e-6, 'one template without words: the text itself');
  backbone.dispose();
});

/** Rows of [T, E] at length 1. */
function unit({ data: values, shape }: Loaded): Float64Array {
  const width = shape[1] as number;
  const out = new Float64Array(values.length);
  for (let row = 0; row < values.length / width; row++) {
    const part = values.subarray(row * width, (row + 1) * width);
    const norm = Math.sqrt((part as Float32Array).reduce((sum, x) => sum + x * x, 0));
    part.forEach((x, i) => {
      out[row * width + i] = x / norm;
    });
  }
  return out;
}
