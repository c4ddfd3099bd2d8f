/** Pieces of the command line that need no model: labels, patterns, names, options, exit codes. */
import { mkdir, mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { parseShare, percentile } from '#lib/cli/commands/bench.js';
import { resumeHint } from '#lib/cli/commands/segment-report.js';
import { parseValue } from '#lib/cli/config.js';
import { exitCodeOf } from '#lib/cli/exit-codes.js';
import { expandGlob } from '#lib/cli/glob.js';
import { expandInputs, parseShard, takeShard } from '#lib/cli/inputs.js';
import { parseLabelList } from '#lib/cli/label-list.js';
import { nameOutputs, protectInputs } from '#lib/cli/names.js';
import { commandOptions, type OptionSpec, optionSpecs, variableOf } from '#lib/cli/options.js';
import { table, wantsColour } from '#lib/cli/output.js';
import { duration, progressLine } from '#lib/cli/progress.js';
import { parseBackgroundOption } from '#lib/cli/setup.js';
import { errorCodes, WordmaskError } from '#lib/util/errors.js';

const words = (text: string) =>
  parseLabelList(text).map((label) => (label as unknown as { prompts: string[] }).prompts);

t.test('labels', async (t) => {
  t.same(words('cat,dog|puppy,grass'), [['cat'], ['dog', 'puppy'], ['grass']]);
  t.same(words('"salt, pepper",a\\,b,a\\|b'), [['salt, pepper'], ['a,b'], ['a|b']]);
  t.same(words('"big|small" cat'), [['big|small cat']]);
  t.same(words('a\\"b'), [['a"b']]);
  t.same(words('cat,,dog'), [['cat'], [''], ['dog']], 'an empty label stays, to be refused by name');
  t.same(words('  '), []);
  t.throws(() => words('"cat'), { code: 'E_USAGE' });
  t.same(parseLabelList('dog|puppy'), [{ name: 'dog', prompts: ['dog', 'puppy'] }]);
});

t.test('patterns', async (t) => {
  const root = await mkdtemp(join(tmpdir(), 'wordmask-glob-'));
  await mkdir(join(root, 'a/b'), { recursive: true });
  for (const name of ['x1.png', 'x2.jpg', '.hidden.png', 'a/x3.png', 'a/b/x4.png', 'a/b/[x].png'])
    await writeFile(join(root, name), '');
  const find = async (pattern: string) =>
    (await expandGlob(join(root, pattern))).map((path) => path.slice(root.length + 1));
  t.same(await find('*.png'), ['x1.png']);
  t.same(await find('x?.{png,jpg}'), ['x1.png', 'x2.jpg']);
  t.same(await find('**/x*.png'), ['a/b/x4.png', 'a/x3.png', 'x1.png']);
  t.same(await find('*/x[3-9].png'), ['a/x3.png']);
  t.same(await find('a/**'), ['a/b/[x].png', 'a/b/x4.png', 'a/x3.png']);
  t.same(await find('x[!1].*'), ['x2.jpg']);
  t.same((await expandInputs([join(root, 'a/b/[x].png')])).images.length, 1, 'a file that is there is no pattern');
});

t.test('inputs', async (t) => {
  const root = await mkdtemp(join(tmpdir(), 'wordmask-inputs-'));
  await mkdir(join(root, 'in/sub/out'), { recursive: true });
  for (const name of ['in/b.JPG', 'in/a.png', 'in/notes.txt', 'in/sub/c.webp', 'in/sub/out/a.png', 'in/sub/d.tiff'])
    await writeFile(join(root, name), '');
  const list = async (args: string[], options = {}) =>
    (
      await expandInputs(
        args.map((arg) => join(root, arg)),
        options,
      )
    ).images.map(({ name }) => name);
  t.same(await list(['in'], { exclude: join(root, 'in/sub/out') }), ['a', 'b', 'sub/c']);
  t.same(await list(['in'], { formats: ['tiff'] }), ['sub/d']);
  t.same(await list(['in/a.png', 'in/../in/a.png']), ['a'], 'the same file twice is one image');
  await writeFile(join(root, 'in/list.jsonl'), '"a.png"\n\n{"image":"b.JPG","name":"x/y"}\n{"input":"sub/c.webp"}\n');
  t.same(await list(['in/list.jsonl']), ['a', 'x/y', 'c']);
  await writeFile(join(root, 'in/list.txt'), '\uFEFFa.png\r\nsub/c.webp\r\n');
  const listed = await expandInputs([`@${join(root, 'in/list.txt')}`]);
  t.same(
    listed.images.map(({ path }) => path),
    [join(root, 'in/a.png'), join(root, 'in/sub/c.webp')],
  );
  t.ok(listed.batch);
  t.notOk((await expandInputs([join(root, 'in/a.png')])).batch);
  for (const line of ['{"image":5}', '{"image":"a.png","name":"../x"}', '{"image":"a.png","image":"b"}', '{']) {
    await writeFile(join(root, 'in/bad.jsonl'), line);
    await t.rejects(expandInputs([join(root, 'in/bad.jsonl')]), { code: 'E_USAGE' });
  }
  await t.rejects(expandInputs([join(root, 'nothing')]), { code: 'E_USAGE' });
  await t.rejects(expandInputs([join(root, '*.png')]), { code: 'E_USAGE' });
  await t.rejects(expandInputs(['http://x/y.png']), { code: 'E_URL_FORBIDDEN' });
});

t.test('shards', async (t) => {
  const items = [0, 1, 2, 3, 4, 5, 6];
  t.same([1, 2, 3].flatMap((i) => takeShard(items, `${i}/3`)).sort(), items, 'every item is in one shard');
  for (const bad of ['0/3', '4/3', '1', 'a/b', '1/0']) t.throws(() => parseShard(bad), { code: 'E_OPTION' });
});

t.test('names never clash', async (t) => {
  const stems = (paths: string[], formats: string[]) =>
    nameOutputs(
      paths.map((path) => ({ path, name: path.replace(/^.*\//, '').replace(/\.\w+$/, '') })),
      formats,
    ).map(({ outputs }) => outputs.map(({ stem, extension }) => stem + extension));
  t.same(stems(['p/a.jpg'], ['png', 'overlay', 'coco', 'npy']), [['a.png', 'a.overlay.png', 'a.coco.json', 'a.npy']]);
  t.same(stems(['p/a.jpg'], ['overlay']), [['a.overlay.png']]);
  t.same(stems(['a.jpg', 'a.png', 'b.png'], ['png']), [['a.jpg.png'], ['a.png.png'], ['b.png']]);
  t.same(stems(['a.jpg', 'A.png'], ['png']), [['a.jpg.png'], ['A.png.png']], 'also where case does not count');
  const [[first = ''] = [], [second = ''] = []] = stems(['p/a.jpg', 'q/a.jpg'], ['png']);
  t.match(first, /^a\.jpg-[0-9a-f]{10}\.png$/);
  t.not(first, second);
  const all = stems(['a.jpg', 'a.overlay.jpg', 'x/a.overlay.jpg'], ['png', 'overlay']).flat();
  t.equal(new Set(all).size, all.length);
  const jobs = nameOutputs([{ path: 'out/a.png', name: 'a' }], ['png']);
  t.throws(() => protectInputs(jobs, 'out'), { code: 'E_USAGE' });
  t.doesNotThrow(() => protectInputs(jobs, 'other'));
});

t.test('options', async (t) => {
  for (const [command, names] of Object.entries(commandOptions)) {
    const flags = names.flatMap((name) =>
      (optionSpecs.get(name) as OptionSpec).flags.split(/[ ,]+/).filter((word) => word.startsWith('-')),
    );
    t.equal(new Set(flags).size, flags.length, `${command}: every flag is one option's`);
  }
  t.equal(variableOf('maxSide'), 'WORDMASK_MAX_SIDE');
  const value = (name: string, text: unknown) => parseValue(optionSpecs.get(name) as OptionSpec, text, name);
  t.equal(value('size', 'native'), 'native');
  t.equal(value('size', '336'), 336);
  t.equal(value('threads', '2'), 2);
  t.same(value('format', 'png, voc'), ['png', 'voc']);
  t.same(value('set', ['a=1', 'b={"c":2}', 'd=x=y']), { a: 1, b: { c: 2 }, d: 'x=y' });
  t.same(value('refine', '{"name":"crf","iterations":5}'), { name: 'crf', iterations: 5 });
  t.equal(value('overlay', 'yes'), true);
  t.equal(value('overlay', '0'), false);
  for (const [name, text] of [
    ['threads', '2.5'],
    ['threads', ''],
    ['alpha', 'x'],
    ['overlay', 'maybe'],
    ['onError', 'go'],
    ['set', 'a'],
    ['format', 5],
    ['labels', 5],
    ['model', {}],
  ])
    t.throws(() => value(name as string, text), { code: 'E_OPTION' }, `${name}: ${text}`);
  t.same(parseBackgroundOption('threshold:0.4'), { mode: 'threshold', value: 0.4 });
  t.same(parseBackgroundOption('prompts:sky, wall'), { mode: 'prompts', prompts: ['sky', 'wall'] });
  for (const bad of ['threshold', 'margin:x', 'none:1'])
    t.throws(() => parseBackgroundOption(bad), { code: 'E_OPTION' });
  t.equal(parseShare('5%'), 0.05);
  t.equal(parseShare('0.1'), 0.1);
  t.throws(() => parseShare('-1'), { code: 'E_OPTION' });
});

t.test('exit codes', async (t) => {
  const expected: Record<string, number> = {
    E_USAGE: 2,
    E_OPTION: 2,
    E_MODEL_NOT_FOUND: 3,
    E_HASH: 3,
    E_VOCAB: 3,
    E_IMAGE_CORRUPT: 3,
    E_DEVICE: 4,
    E_OOM: 4,
    E_MEMORY_PLAN: 4,
    E_NETWORK: 5,
    E_OFFLINE: 5,
    E_DISK: 6,
    E_INTERNAL: 70,
  };
  for (const code of errorCodes) t.type(exitCodeOf(new WordmaskError(code, '')), 'number', code);
  for (const [code, exit] of Object.entries(expected))
    t.equal(exitCodeOf(new WordmaskError(code as 'E_USAGE', '')), exit, code);
  t.equal(exitCodeOf(new TypeError('x')), 70);
});

t.test('terminal', async (t) => {
  t.ok(wantsColour({ isTTY: true }, {}));
  t.notOk(wantsColour({ isTTY: true }, { NO_COLOR: '1' }));
  t.notOk(wantsColour({ isTTY: true }, { CI: 'true' }));
  t.ok(wantsColour({}, { FORCE_COLOR: '1', CI: 'true' }));
  t.notOk(wantsColour({ isTTY: true }, { FORCE_COLOR: '1', NO_COLOR: '1' }));
  t.equal(
    progressLine(12, 48, 4, 'images', 'a.jpg'),
    '[######------------------] 12/48  3.0 images/s  12 s left  a.jpg',
  );
  t.equal(progressLine(0, 5, 0, 'images', ''), '[------------------------] 0/5');
  t.same([0.4, 65, 3 * 3600 + 125].map(duration), ['0 s', '1 min 5 s', '3 h 2 min']);
  t.same(
    table(
      [
        ['a', '1'],
        ['bbb', '22'],
      ],
      [1],
    ),
    ['a     1', 'bbb  22'],
  );
  t.same(
    [50, 95, 99, 0].map((p) => percentile([5, 1, 4, 2, 3], p)),
    [3, 5, 5, 1],
  );
  t.equal(
    resumeHint(['segment', 'my photo.jpg', '-l', "it's"]),
    "wordmask segment 'my photo.jpg' -l 'it'\\''s' --resume",
  );
});
