/** Tokenizers: published ids by every route, the special-token guard, limits, odd text. */
import { copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import fc from 'fast-check';
import t from 'tap';
import { Bpe, byteOrder, byteSymbols } from '#lib/text/bpe.js';
import { cleanClip, repairText, unescapeHtml } from '#lib/text/clean.js';
import { loadTokenizer, type Tokenizer, textLimit } from '#lib/text/index.js';

const data = process.env.WORDMASK_TEST_DATA;
const skip = data ? false : 'WORDMASK_TEST_DATA is not set';

interface Case {
  text: string;
  clip: number[];
  clip_truncated_77: number[];
  bert: number[];
  roberta: number[];
}

/** Folders with the same CLIP vocabulary in each of its forms, and the two others. */
async function folders(root: string): Promise<Record<string, string>> {
  const from = join(data as string, 'vocab');
  const names = ['table', 'table-gz', 'merges', 'json', 'bert', 'roberta'];
  const paths = Object.fromEntries(names.map((name) => [name, join(root, name)])) as Record<string, string>;
  for (const name of names) await mkdir(paths[name] as string);
  const at = (name: string, file: string): string => join(paths[name] as string, file);
  await copyFile(join(from, 'bpe_simple_vocab_16e6.txt.gz'), at('table-gz', 'bpe_simple_vocab_16e6.txt.gz'));
  const table = gunzipSync(await readFile(join(from, 'bpe_simple_vocab_16e6.txt.gz'))).toString();
  await writeFile(at('table', 'bpe_simple_vocab_16e6.txt'), table);
  const merges = table.split('\n').slice(1, 49152 - 256 - 2 + 1);
  const symbols = [
    ...byteOrder,
    ...byteOrder.map((c) => `${c}</w>`),
    ...merges.map((pair) => pair.replace(' ', '')),
    '<|startoftext|>',
    '<|endoftext|>',
  ];
  const vocab = Object.fromEntries(symbols.map((symbol, id) => [symbol, id]));
  await writeFile(at('merges', 'vocab.json'), JSON.stringify(vocab));
  await writeFile(at('merges', 'merges.txt'), `#version: 0.2\n${merges.join('\n')}\n`);
  await writeFile(at('json', 'tokenizer.json'), JSON.stringify(tokenizerJson(vocab, merges)));
  await writeFile(at('json', 'tokenizer_config.json'), JSON.stringify({ pad_token: { content: '!' } }));
  await copyFile(join(from, 'bert-base-uncased-vocab.txt'), at('bert', 'vocab.txt'));
  await copyFile(join(from, 'roberta-base-vocab.json'), at('roberta', 'vocab.json'));
  await copyFile(join(from, 'gpt2-merges.txt'), at('roberta', 'merges.txt'));
  return paths;
}

/** The layout that the hub's CLIP folders have, special tokens in the pattern included. */
function tokenizerJson(vocab: Record<string, number>, merges: string[]): unknown {
  const special = (id: number, content: string): unknown => ({
    id,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: true,
    special: true,
  });
  const pattern =
    "<\\|startoftext\\|>|<\\|endoftext\\|>|'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+";
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [special(49406, '<|startoftext|>'), special(49407, '<|endoftext|>')],
    normalizer: {
      type: 'Sequence',
      normalizers: [
        { type: 'NFC' },
        { type: 'Replace', pattern: { Regex: '\\s+' }, content: ' ' },
        { type: 'Lowercase' },
      ],
    },
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [
        { type: 'Split', pattern: { Regex: pattern }, behavior: 'Removed', invert: true },
        { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
      ],
    },
    post_processor: {
      type: 'RobertaProcessing',
      sep: ['<|endoftext|>', 49407],
      cls: ['<|startoftext|>', 49406],
      trim_offsets: false,
      add_prefix_space: false,
    },
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: '<|endoftext|>',
      continuing_subword_prefix: '',
      end_of_word_suffix: '</w>',
      fuse_unk: false,
      vocab,
      merges,
    },
  };
}

t.test('published vocabularies', { skip }, async (t) => {
  const root = await mkdtemp(join(tmpdir(), 'wm-'));
  t.teardown(() => rm(root, { recursive: true, force: true }));
  const paths = await folders(root);
  const clips: Tokenizer[] = [];
  for (const name of ['table', 'table-gz', 'merges', 'json']) clips.push(await loadTokenizer(paths[name] as string));
  const [, gz, merges, json] = clips as [Tokenizer, Tokenizer, Tokenizer, Tokenizer];
  const bert = await loadTokenizer(paths.bert as string);
  const roberta = await loadTokenizer(paths.roberta as string);
  const { cases } = JSON.parse(await readFile(join(data as string, 'vocab/token-cases.json'), 'utf8')) as {
    cases: Case[];
  };

  t.test('all cases', async (t) => {
    for (const { text, ...ids } of cases) {
      // The published ids read special tokens inside the text; without them `specialTokens` changes nothing.
      const options = { specialTokens: true };
      for (const clip of clips) {
        t.same(clip.encode(text, options), ids.clip, `CLIP: ${text.slice(0, 40)}`);
        t.same(clip.encode(text, { ...options, maxLength: 77 }), ids.clip_truncated_77);
        if (!text.includes('<|')) t.same(clip.encode(text), ids.clip);
      }
      t.same(bert.encode(text), ids.bert, `BERT: ${text.slice(0, 40)}`);
      t.same(roberta.encode(text), ids.roberta, `RoBERTa: ${text.slice(0, 40)}`);
    }
  });

  t.test('shape of the result', async (t) => {
    t.same(
      clips.map(({ kind, vocabSize, sotId, eotId }) => [kind, vocabSize, sotId, eotId]),
      clips.map(() => ['clip', 49408, 49406, 49407]),
    );
    t.same(
      clips.map(({ padId }) => padId),
      [0, 0, 49407, 0],
      'the original pads with 0, hub files with what they name or the end token',
    );
    t.same([bert.kind, bert.vocabSize, bert.sotId, bert.eotId, bert.padId], ['bert', 30522, 101, 102, 0]);
    t.same([roberta.kind, roberta.vocabSize, roberta.sotId, roberta.eotId, roberta.padId], ['roberta', 50265, 0, 2, 1]);
    t.same(merges.encode(['cat', 'a dog'], { padTo: 5 }), [
      [49406, 2368, 49407, 49407, 49407],
      [49406, 320, 1929, 49407, 49407],
    ]);
    const cut = merges.encodeBatch(['a photo of a cat', 'cat'], { maxLength: 4 });
    t.same(cut.ids, [
      [49406, 320, 1125, 49407],
      [49406, 2368, 49407],
    ]);
    t.equal(cut.warnings.length, 1);
    t.match(cut.warnings[0], /"a photo of a cat" has 7 tokens and was cut to 4/);
    t.throws(() => merges.encode('a', { maxLength: 1 }), { code: 'E_OPTION', message: /maxLength/ });
    t.throws(() => merges.encode(3 as unknown as string), { code: 'E_USAGE' });
  });

  t.test('text never becomes a special token', async (t) => {
    const texts = [
      '<|endoftext|>',
      'a<|endoftext|>b',
      '<|STARTOFTEXT|>',
      '&lt;|endoftext|&gt;',
      '＜|endoftext|＞',
      '[SEP]',
      '[CLS] x',
      '[PAD]',
      '</s>',
      '<s>',
      '<pad> <mask>',
      '<|endoftext|></w>',
      '[sep]',
      '\u200b<|endoftext|>',
    ];
    for (const tokenizer of [...clips, bert, roberta]) {
      for (const text of texts) {
        const ids = tokenizer.encode(text);
        const inner = ids.slice(1, -1);
        t.notOk(inner.includes(tokenizer.sotId) || inner.includes(tokenizer.eotId), `${tokenizer.kind}: ${text}`);
        t.ok(inner.length > 0 && ids[0] === tokenizer.sotId && ids.at(-1) === tokenizer.eotId);
      }
    }
    t.same(merges.encode('<|endoftext|>'), gz.encode('<|endoftext|>'));
    t.same(merges.encode('<|endoftext|>'), json.encode('<|endoftext|>'));
  });

  t.test('bad and long text', async (t) => {
    for (const tokenizer of [merges, json, bert, roberta]) {
      t.throws(() => tokenizer.encode('a\ud800'), { code: 'E_LABEL', message: /surrogate/ });
      t.throws(() => tokenizer.encode('x'.repeat(1 << 20)), {
        code: 'E_LABEL',
        message: /1048576 bytes, the limit is 8192/,
      });
      const started = performance.now();
      tokenizer.encode('x'.repeat(textLimit));
      tokenizer.encode('é '.repeat(textLimit / 3));
      t.comment(`${tokenizer.kind}: two texts at the limit ${(performance.now() - started).toFixed(0)} ms`);
    }
  });

  t.test('all CLIP routes agree on any text', async () => {
    const word = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 12 }),
      fc.string({ unit: 'grapheme', maxLength: 12 }),
      fc.constantFrom(
        '&amp;',
        '&#233;',
        '<|endoftext|>',
        "'s",
        ' ',
        '  ',
        '\t',
        'ﬁ',
        '“x”',
        'Ａ',
        'İ',
        'ΑΣ',
        '&notit;',
        '１２',
      ),
    );
    fc.assert(
      fc.property(fc.array(word, { maxLength: 6 }), (words) => {
        const text = words.join('');
        const expected = gz.encode(text).join();
        for (const tokenizer of [merges, json])
          if (tokenizer.encode(text).join() !== expected)
            throw new Error(`${JSON.stringify(text)}: ${tokenizer.encode(text).join()} is not ${expected}`);
        if (![...bert.encode(text), ...roberta.encode(text)].every(Number.isInteger))
          throw new Error('a word without id');
      }),
      { numRuns: 1000 },
    );
  });
});

t.test('damaged tokenizer folders', async (t) => {
  const root = await mkdtemp(join(tmpdir(), 'wm-'));
  t.teardown(() => rm(root, { recursive: true, force: true }));
  await t.rejects(loadTokenizer(root), { code: 'E_TOKENIZER', message: /holds no tokenizer/ });
  const refused = async (files: Record<string, string | Uint8Array>, pattern: RegExp): Promise<void> => {
    const dir = await mkdtemp(join(root, 'f'));
    for (const [name, text] of Object.entries(files)) await writeFile(join(dir, name), text);
    await t.rejects(loadTokenizer(dir), { code: 'E_TOKENIZER', message: pattern });
  };
  await refused({ 'vocab.json': '{"<s>":0,"</s>":1,"<pad>":2}' }, /merges\.txt does not exist/);
  await refused({ 'vocab.json': '{"a":0}', 'merges.txt': '' }, /no known tokenizer/);
  await refused({ 'vocab.json': '{"a":0,"b":0}', 'merges.txt': '' }, /two symbols/);
  await refused({ 'vocab.json': '{"a":0,"a":1}', 'merges.txt': '' }, /twice/);
  await refused({ 'vocab.json': '{"a":-1}', 'merges.txt': '' }, /whole numbers/);
  await refused({ 'vocab.json': '[]', 'merges.txt': '' }, /not an object/);
  await refused(
    { 'vocab.json': '{"<s>":0,"</s>":1,"<pad>":2}', 'merges.txt': '#version: 0.2\na b c\n' },
    /line "a b c"/,
  );
  await refused({ 'vocab.txt': '[PAD]\n[UNK]\n[CLS]\n' }, /lacks the token "\[SEP\]"/);
  await refused({ 'vocab.txt': 'a\na\n' }, /twice/);
  await refused({ 'bpe_simple_vocab_16e6.txt.gz': 'nonsense' }, /gzip/);
  await refused({ 'tokenizer.json': '{' }, /not JSON/);
  await refused({ 'tokenizer.json': '{"model":{"type":"Unigram"}}' }, /type "Unigram"/);
  await refused(
    {
      'tokenizer.json':
        '{"model":{"type":"BPE","end_of_word_suffix":"</w>","vocab":{"a":0},"merges":[]},"pre_tokenizer":null,"normalizer":null}',
    },
    /lacks the token "<\|startoftext\|>"/,
  );
  await refused(
    {
      'tokenizer.json':
        '{"model":{"type":"BPE","end_of_word_suffix":"</w>","vocab":{"a":0},"merges":[]},"pre_tokenizer":{"type":"Telepathy"}}',
    },
    /not known/,
  );
});

t.test('byte pairs', async (t) => {
  t.equal(new Set(byteSymbols).size, 256);
  t.same(byteSymbols[0x41], 'A');
  t.equal(byteSymbols[0x20], 'Ġ');
  // Against the plain definition: join all places of the best pair, again and again.
  const merges = ['a b', 'ab c</w>', 'a a', 'aa aa', 'b b', 'ab ab', 'bb a'];
  const symbols = new Map(
    [...byteSymbols, ...byteSymbols.map((c) => `${c}</w>`), ...merges.map((pair) => pair.replace(' ', ''))].map(
      (symbol, id) => [symbol, id],
    ),
  );
  const bpe = new Bpe(symbols, merges, '</w>');
  const naive = (word: string): number[] => {
    let parts = [...word].map((c, i) => (i === word.length - 1 ? `${c}</w>` : c));
    for (const pair of merges) {
      const [left, right] = pair.split(' ');
      const joined: string[] = [];
      for (const part of parts) {
        if (joined.at(-1) === left && part === right) joined[joined.length - 1] = `${left}${right}`;
        else joined.push(part);
      }
      parts = joined;
    }
    return parts.map((part) => symbols.get(part) as number);
  };
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom('a', 'b', 'c'), minLength: 1, maxLength: 40 }), (word) => {
      t.same(bpe.encodeWord(word), naive(word), word);
    }),
    { numRuns: 100 },
  );
  const started = performance.now();
  new Bpe(symbols, merges, '</w>').encodeWord('ab'.repeat(1 << 17));
  t.comment(`256 KiB in one word: ${(performance.now() - started).toFixed(0)} ms`);
});

t.test('cleaning', async (t) => {
  t.equal(
    unescapeHtml('&lt;b&gt; &amp;amp; &#233;&#xE9;&#128; &notit; &bogus; &#0;&#55555; &#x110000;&copy'),
    '<b> &amp; éé€ ¬it; &bogus; �� �©',
  );
  t.equal(cleanClip('&amp;lt;B&amp;gt;\t  Ｆｕｌｌ “Quoted” oﬀer\r\n'), '<b> full "quoted" offer');
  t.equal(cleanClip('  '), '');
  t.equal(repairText('a\x1b[31mb\u0007c\ufeff'), 'abc');
  t.equal(repairText('e\u0301'), 'é');
  t.equal(repairText('x\x92s'), "x's");
  t.equal(repairText('schÃ¶n'), 'schÃ¶n', 'wrongly decoded text is left alone');
  fc.assert(
    fc.property(
      fc.string({ unit: 'binary', maxLength: 60 }),
      (text) => cleanClip(text) === cleanClip(cleanClip(text)) || text.includes('&'),
    ),
    { numRuns: 500 },
  );
});
