/** Byte pairs learnt from captions: size, order of ids, both file forms, any text; nouns found in captions. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { bpeFiles, bpeTokenizer, learnBpe, loadTokenizer, NounFinder } from '#lib/text/index.js';
import { captionOf } from '../helpers/caption-pairs.js';

const captions = Array.from({ length: 300 }, (_, i) => captionOf(i));

t.test('ids: bytes, bytes with word end, merges, start, end', async (t) => {
  const learned = await learnBpe(captions, 400);
  t.same(learned, await learnBpe([...captions].reverse(), 400), 'order of captions does not matter');
  t.equal(learned.symbols.length, 400);
  t.equal(new Set(learned.symbols).size, 400);
  t.same(learned.symbols.slice(-2), ['<|startoftext|>', '<|endoftext|>'], 'the end token has the highest id');
  const all = await learnBpe(captions, 65_536);
  const tokenizer = bpeTokenizer(all);
  const longest = Math.max(...captions.map((text) => tokenizer.encode(text).length));
  t.ok(all.symbols.length < 1024, 'learning ends when every word is one symbol');
  t.equal(longest, 2 + 7, 'then each word is one token');
  const least = (await learnBpe([], 1024)).symbols.length;
  t.ok(least < 400, 'no captions: bytes alone');
  for (const bad of [least - 1, 65_537, 600.5, Number.NaN])
    await t.rejects(learnBpe(captions, bad), { code: 'E_OPTION' });
});

t.test('most frequent pair first, smaller pair among equals', async (t) => {
  const { merges } = await learnBpe(['ab ab ab cd cd', 'xy xy xy'], 1024);
  t.same(merges, ['a b</w>', 'x y</w>', 'c d</w>']);
});

t.test('a symbol that two merges make has one id', async (t) => {
  const learned = await learnBpe(['abc abc abc abc zab zab zab zab zab zab bcx bcx bcx bcx bcx', 'qabcq abc'], 65_536);
  t.equal(new Set(learned.symbols).size, learned.symbols.length);
  t.ok(bpeTokenizer(learned).encode('abc zab bcx qabcq').length >= 6);
});

t.test('learning leaves turns to others and can be stopped', async (t) => {
  const many = Array.from({ length: 4000 }, (_, i) => `${(i * 2654435761).toString(36)} ${captionOf(i)}`);
  let turns = 0;
  const timer = setInterval(() => turns++, 1);
  await learnBpe(many, 3000);
  clearInterval(timer);
  t.ok(turns > 3, `${turns} turns`);
  const stop = new AbortController();
  setTimeout(() => stop.abort(new Error('enough')), 15);
  await t.rejects(learnBpe(many, 3000, stop.signal), { message: 'enough' });
});

t.test(
  'tokenizer.json, vocab.json with merges.txt and the table in memory give the same ids for any text',
  async (t) => {
    const root = await mkdtemp(join(tmpdir(), 'wordmask-bpe-'));
    t.teardown(() => rm(root, { recursive: true }));
    const learned = await learnBpe(captions, 410);
    const files = bpeFiles(learned, 32);
    for (const form of ['json', 'merges']) {
      await mkdir(join(root, form));
      for (const [name, text] of Object.entries(files))
        if (form === 'json' || name !== 'tokenizer.json') await writeFile(join(root, form, name), text);
    }
    const tokenizers = [
      bpeTokenizer(learned),
      await loadTokenizer(join(root, 'json')),
      await loadTokenizer(join(root, 'merges')),
    ];
    for (const tokenizer of tokenizers) {
      t.equal(tokenizer.eotId, 409);
      t.equal(tokenizer.padId, 409);
      t.equal(tokenizer.vocabSize, 410);
    }
    const same = (text: string) => {
      const [first, ...rest] = tokenizers.map((tokenizer) => JSON.stringify(tokenizer.encode(text)));
      return rest.every((ids) => ids === first);
    };
    for (const text of [
      '',
      "don't we'll",
      'Ünïcode été 中文 😀',
      '<|endoftext|>',
      'UPPER  Case\tTab',
      ...captions.slice(0, 20),
    ])
      t.ok(same(text), JSON.stringify(text));
    fc.assert(fc.property(fc.string({ unit: 'grapheme', maxLength: 40 }), same), { numRuns: 200 });
  },
);

t.test('nouns of a caption: words, synonyms, plurals, the longest phrase', async (t) => {
  const finder = new NounFinder([
    { name: 'car', words: ['car', 'automobile'] },
    { name: 'beach', words: ['beach', 'sand'] },
    { name: 'sand castle', words: [] },
    { name: 'puppy', words: [] },
    { name: 'leaf', words: [] },
    { name: 'wheat field', words: ['field of wheat'] },
  ]);
  t.same(finder.find('Two red cars and an AUTOMOBILE.'), [0]);
  t.same(finder.find('beaches, puppies; leaves'), [1, 3, 4]);
  t.same(finder.find('a sand castle'), [2], 'the longer phrase wins');
  t.same(finder.find('a castle of sand near a field of wheat'), [1, 5]);
  t.same(finder.find('cardboard and scars'), []);
  t.same(finder.find(''), []);
});
