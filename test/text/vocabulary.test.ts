/** The text of a vocabulary: labels, templates, background, limits, files; class lists and template sets. */
import fc from 'fast-check';
import t from 'tap';
import {
  classes,
  classList,
  classListNames,
  fillTemplate,
  templateSet,
  templates,
  VocabularySpec,
} from '#lib/text/index.js';
import { WordmaskError } from '#lib/util/errors.js';

const create = VocabularySpec.create;

t.test('labels', async (t) => {
  const spec = create([
    'cat',
    ' dog | puppy ',
    { name: 'grass', prompts: ['lawn', 'grass  land', 'lawn'], color: '#00ff7f', group: 'stuff', thing: false },
    { name: 'sky', background: true },
  ]);
  t.same(spec.labels, [
    { name: 'cat', prompts: ['cat'] },
    { name: 'dog', prompts: ['dog', 'puppy'] },
    { name: 'grass', prompts: ['lawn', 'grass land'], color: [0, 255, 127], group: 'stuff', thing: false },
    { name: 'sky', prompts: ['sky'], background: true },
  ]);
  t.same(spec.prompts, ['cat', 'dog', 'puppy', 'lawn', 'grass land', 'sky']);
  t.same([...spec.owners], [0, 1, 1, 2, 2, 3]);
  t.equal(spec.backgroundIndex, 3);
  t.equal(spec.templates, undefined);
  t.same([spec.ensemble, spec.background], ['max', { mode: 'auto' }]);
  t.same(
    create([{ name: 'background', background: true }, 'cat']).prompts,
    ['cat'],
    'the word "background" is never compared',
  );
  t.same(create([{ name: 'background', prompts: ['sky'], background: true }, 'cat']).prompts, ['sky', 'cat']);
  t.same(create([{ name: 'a|b' }]).labels[0]?.name, 'a|b', 'in an object "|" is a character');
  t.equal(create(['cafe\u0301']).labels[0]?.name, 'café');
  t.same(
    create(['constructor', '__proto__', 'toString']).labels.map((label) => label.name),
    ['constructor', '__proto__', 'toString'],
  );
});

t.test('bad labels', async (t) => {
  const bad = (labels: unknown, code: string, message: RegExp, options = {}): void => {
    const started = performance.now();
    t.throws(() => create(labels as string[], options), { code, message }, `${String(message)}`);
    t.comment(`${(performance.now() - started).toFixed(1)} ms`);
  };
  bad([], 'E_VOCAB', /no labels/);
  bad('cat', 'E_USAGE', /must be a list/);
  bad(
    Array.from({ length: 10_001 }, (_, i) => `l${i}`),
    'E_VOCAB',
    /10001 labels, the limit is 10000/,
  );
  bad(['a', ''], 'E_LABEL', /label 1 is empty/);
  bad(['a', ' \t\n'], 'E_LABEL', /label 1 is empty/);
  bad(['a|'], 'E_LABEL', /empty/);
  bad(['x'.repeat(1 << 20)], 'E_LABEL', /1048576 bytes/);
  bad(['é'.repeat(513)], 'E_LABEL', /1026 bytes or more, the limit for it is 1024/);
  bad(['a\ud800b'], 'E_LABEL', /surrogate/);
  bad([{ name: 'a', prompts: ['\udc00'] }], 'E_LABEL', /prompt holds half/);
  bad([3], 'E_LABEL', /must be a text or an object/);
  bad([null], 'E_LABEL', /must be a text or an object/);
  bad([{ prompts: ['a'] }], 'E_LABEL', /name must be a text/);
  bad([{ name: 'a', promts: [] }], 'E_LABEL', /"promts"; did you mean prompts/);
  bad([{ name: 'a', prompts: 'b' }], 'E_LABEL', /list of texts/);
  bad([{ name: 'a', color: [0, 0, 256] }], 'E_LABEL', /color/);
  bad([{ name: 'a', thing: 1 }], 'E_LABEL', /thing must be true or false/);
  bad(['cat', 'dog', 'Cat', ' dog'], 'E_LABEL', /twice: "Cat", "dog"/);
  bad(
    [{ name: 'a', prompts: Array.from({ length: 65 }, (_, i) => `p${i}`) }],
    'E_VOCAB',
    /65 prompts, the limit is 64/,
  );
  bad([Array.from({ length: 65 }, (_, i) => `p${i}`).join('|')], 'E_VOCAB', /65 prompts/);
  bad(
    [
      { name: 'a', background: true },
      { name: 'b', background: true },
    ],
    'E_VOCAB',
    /more than one/,
  );
  bad([{ name: 'background', background: true }], 'E_VOCAB', /no words/);
  bad(['a', 'b', 'c'], 'E_VOCAB', /3 labels, the limit is 2/, { limits: { labels: 2 } });
  t.equal(create(Array.from({ length: 10_000 }, (_, i) => `l${i}`)).labels.length, 10_000);
});

t.test('templates, ensemble, background', async (t) => {
  t.equal(create(['a'], { templates: 'clip80' }).templates?.list.length, 80);
  t.same(create(['a'], { templates: 'none' }).templates?.list, ['{}']);
  t.same(create(['a'], { templates: [' a  {} here '] }).templates, { list: ['a {} here'] });
  const bad = (options: object, message: RegExp): void => {
    t.throws(() => create(['a'], options), { code: 'E_OPTION', message }, String(message));
  };
  bad({ templates: 'clip8' }, /did you mean "clip80"|did you mean "clip7"/);
  bad({ templates: '__proto__' }, /no template set/);
  bad({ templates: [] }, /not empty/);
  bad({ templates: ['a photo'] }, /exactly one \{\}.*has 0/);
  bad({ templates: ['{} {}'] }, /has 2/);
  bad({ templates: [3] }, /template 0 must be a text/);
  bad({ templates: new Array(129).fill('{}') }, /129, the limit is 128/);
  bad({ templates: [`{}${'x'.repeat(1024)}`] }, /1026 bytes/);
  bad({ ensemble: 'median' }, /max, mean/);
  bad({ background: 'thresold' }, /did you mean threshold/);
  bad({ background: { mode: 'threshold' } }, /background\.value must be a number from 0 to 1, got undefined/);
  bad({ background: { mode: 'threshold', value: 2 } }, /got 2/);
  bad({ background: { mode: 'threshold', value: NaN } }, /got NaN/);
  bad({ background: { mode: 'none', value: 0.5 } }, /takes no "value"/);
  bad({ background: { mode: 'prompts', prompts: [] } }, /not empty/);
  bad({ background: 5 }, /object/);
  t.same(create(['a'], { background: { mode: 'margin', value: 0.1 } }).background, { mode: 'margin', value: 0.1 });
  const words = create(['cat', 'dog'], { background: { mode: 'prompts', prompts: ['sky', 'wall', 'sky'] } });
  t.same(words.prompts, ['cat', 'dog', 'sky', 'wall']);
  t.same([...words.owners], [0, 1, 2, 2], 'without a background label the words belong to "nothing"');
  const marked = create([{ name: 'background', background: true }, 'cat'], {
    background: { mode: 'prompts', prompts: ['sky'] },
  });
  t.same(
    [marked.prompts, [...marked.owners]],
    [
      ['cat', 'sky'],
      [1, 0],
    ],
  );
  t.equal(create(['cat'], { background: 'prompts' }).prompts.length, 27, 'the 26 published words by default');
  t.throws(() => create(['a'], { background: { mode: 'prompts', prompts: [''] } }), { code: 'E_LABEL' });
  t.equal(fillTemplate('a {} $&', '$1{}'), 'a $1{} $&');
});

t.test('changes', async (t) => {
  const spec = create(['cat', 'dog', 'cow'], { templates: 'photo', ensemble: 'mean' });
  const added = spec.add(['horse|pony']);
  t.same(
    added.labels.map(({ name }) => name),
    ['cat', 'dog', 'cow', 'horse'],
  );
  t.equal(spec.labels.length, 3, 'the old one is untouched');
  t.same(
    added.remove(['Dog']).labels.map(({ name }) => name),
    ['cat', 'cow', 'horse'],
  );
  t.same(
    added.subset(['horse', 'cat']).labels.map(({ name }) => name),
    ['horse', 'cat'],
  );
  t.equal(added.ensemble, 'mean');
  t.throws(() => spec.add(['cat']), { code: 'E_LABEL', message: /twice/ });
  t.throws(() => spec.remove(['cats']), { code: 'E_OPTION', message: /did you mean "cat"/ });
  t.throws(() => spec.remove(['cat', 'dog', 'cow']), { code: 'E_VOCAB' });
  t.throws(() => spec.subset([]), { code: 'E_VOCAB' });
  t.throws(() => spec.subset(['cat', 'cat']), { code: 'E_LABEL' });
  t.equal(spec.configure({ background: 'none' }).background.mode, 'none');
  t.equal(spec.add(['x']).remove(['x']).hash, spec.hash);
  t.not(added.hash, spec.hash);
  t.equal(
    create(['a'], { templates: 'clip80' }).hash,
    create(['a'], { templates: templateSet('imagenet-80') }).hash,
    'a set by name or as a list',
  );
  t.not(create(['a'], { ensemble: 'mean' }).hash, create(['a']).hash);
  t.match(spec.hash, /^[0-9a-f]{64}$/);
});

t.test('files', async (t) => {
  const spec = create(['cat|kitten', { name: 'background', background: true, color: [1, 2, 3] }], {
    templates: 'clip7',
    background: { mode: 'threshold', value: 0.25 },
  });
  const encoder = 'ab'.repeat(32);
  const text = JSON.stringify(spec.toJSON(encoder));
  const back = VocabularySpec.fromJSON(Buffer.from(text));
  t.equal(back.spec.hash, spec.hash);
  t.equal(back.encoder, encoder);
  t.same(back.spec.toJSON(encoder), spec.toJSON(encoder));
  t.equal(VocabularySpec.fromJSON({ ...spec.toJSON(), wordmask: { version: '1' } }).encoder, undefined);
  const bad = (value: unknown, message: RegExp, code = 'E_VOCAB'): void => {
    t.throws(
      () => VocabularySpec.fromJSON(typeof value === 'string' ? value : JSON.stringify(value), 'v.json'),
      { code, message },
      String(message),
    );
  };
  bad('{', /v\.json is not JSON/);
  bad([], /not a JSON object/);
  bad({ ...spec.toJSON(), format: 'wordmask-vocabulary/2' }, /"wordmask-vocabulary\/2", needs/);
  bad({ ...spec.toJSON(), extra: 1 }, /unknown keys: "extra"/);
  bad({ ...spec.toJSON(), labels: 'cat' }, /list of labels/);
  bad({ ...spec.toJSON(), labels: [{ name: 'a', prompts: [3] }] }, /prompt must be a text/, 'E_LABEL');
  bad({ ...spec.toJSON(), encoder: 'x' }, /hexadecimal/);
  bad({ ...spec.toJSON(), templates: 'none such' }, /template set/, 'E_OPTION');
  bad('{"format":"wordmask-vocabulary/1","format":"wordmask-vocabulary/1"}', /twice/);
  bad('{"format":"wordmask-vocabulary/1","labels":["a"],"__proto__":{"x":1}}', /unknown keys: "__proto__"/);
});

t.test('any labels give a vocabulary that survives its file, or a typed error', async () => {
  const text = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 8 }),
    fc.constantFrom('a', 'b', 'a|b', '<|endoftext|>', ' '),
  );
  const label = fc.oneof(
    text,
    fc.record(
      { name: text, prompts: fc.array(text, { maxLength: 3 }), thing: fc.boolean(), background: fc.boolean() },
      { requiredKeys: ['name'] },
    ),
  );
  fc.assert(
    fc.property(
      fc.array(fc.oneof({ weight: 9, arbitrary: label }, { weight: 1, arbitrary: fc.anything() }), { maxLength: 5 }),
      (labels) => {
        try {
          const spec = create(labels as string[]);
          if (VocabularySpec.fromJSON(JSON.stringify(spec.toJSON())).spec.hash !== spec.hash)
            throw new Error('hash changed');
          if (spec.prompts.length !== spec.owners.length) throw new Error('owners');
        } catch (error) {
          if (!(error instanceof WordmaskError) || !['E_LABEL', 'E_VOCAB'].includes(error.code)) throw error;
        }
      },
    ),
    { numRuns: 1000 },
  );
});

t.test('class lists', async (t) => {
  const counts: Record<string, number> = {
    voc21: 21,
    voc20: 20,
    pc59: 59,
    pc60: 60,
    pc459: 459,
    'coco-object': 81,
    'coco-stuff': 171,
    'coco-panoptic': 133,
    cityscapes: 19,
    ade150: 150,
    ade847: 847,
    'ade-panoptic': 150,
  };
  for (const [name, count] of Object.entries(counts)) t.equal(classes[name]?.length, count, name);
  for (const name of classListNames()) {
    const list = classList(name);
    t.ok(
      list.every((entry) => entry.name.trim() === entry.name && entry.name !== ''),
      `${name}: names`,
    );
    // The list of one published paper names "screen" twice, which a vocabulary refuses.
    if (name !== 'ade150-pnp-ovss')
      t.equal(VocabularySpec.fromClasses(name).labels.length, list.length, `${name}: vocabulary`);
    const base = name.replace(/-(synonyms|queries-sclip)$/, '');
    t.equal(list.length, classList(base).length, `${name}: as many as ${base}`);
  }
  t.same(classes.voc20?.slice(0, 2), ['aeroplane', 'bicycle']);
  t.same(classes['voc21-queries-sclip']?.[0]?.length, 26);
  t.same([classList('voc21')[0]?.background, classList('voc21')[0]?.prompts], [true, []]);
  t.same(classList('voc20')[0]?.color, [128, 0, 0], 'colours are those of the list with background');
  t.equal(classList('coco-panoptic')[0]?.thing, true);
  t.equal(classes['none such'], undefined);
  t.throws(() => classList('voc22'), { code: 'E_OPTION', message: /did you mean "voc2[01]"/ });
  t.equal(Object.keys(templates).length, 16);
  t.same(
    [
      templates.none,
      templates.photo?.length,
      templates.clip7?.length,
      templates.clip80?.length,
      templates['vild-14']?.length,
    ],
    [['{}'], 1, 7, 80, 14],
  );
});
