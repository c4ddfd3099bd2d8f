/** The other commands as a user runs them. */
import { cp, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { loadLabels, saveLabels } from '#lib/entry/formats.js';
import { clipTinyFolder, data, needsData } from '../helpers/data.js';
import { wordmask } from './command.js';

// On a busy machine every start of the command takes seconds.
t.setTimeout(300_000);

async function folder(t: Test): Promise<string> {
  const root = await mkdtemp(join(tmpdir(), 'wordmask-cli-'));
  t.teardown(() => rm(root, { recursive: true, force: true }));
  return root;
}

t.test('version and help', async (t) => {
  const cwd = await folder(t);
  const { version } = JSON.parse(await readFile(new URL('../../../../package.json', import.meta.url), 'utf8'));
  for (const args of [['--version'], ['segment', '--version'], ['models', 'list', '--version']]) {
    const result = await wordmask(args, { cwd });
    t.same([result.code, result.out], [0, `${version}\n`], args.join(' '));
  }
  for (const args of [
    [],
    ['segment'],
    ['vocab'],
    ['vocab', 'build'],
    ['models'],
    ['models', 'pull'],
    ['convert'],
    ['doctor'],
    ['bench'],
    ['demo'],
  ]) {
    const result = await wordmask([...args, '--help'], { cwd });
    t.equal(result.code, 0);
    t.match(result.out, /Examples:\n {2}\$ wordmask/, `${args.join(' ')} has examples`);
  }
  const unknown = await wordmask(['segmnt'], { cwd });
  t.equal(unknown.code, 2);
  t.match(unknown.err, /E_USAGE.*Did you mean segment/);
  const machine = await wordmask(['segmnt', '--json'], { cwd });
  t.match(JSON.parse(machine.err), { error: { code: 'E_USAGE' } });
});

t.test('demo: a drawn scene, overlay and label map, with the words of the scenes or with others', async (t) => {
  const cwd = await folder(t);
  const demo = await wordmask(['demo'], { cwd });
  t.equal(demo.code, 0, demo.err);
  t.match(demo.out, /tiny[\s\S]*sky[\s\S]*pixels as drawn[\s\S]*demo-output\/overlay\.png/);
  for (const file of ['scene.png', 'overlay.png', 'labels.png'])
    t.ok((await stat(join(cwd, 'demo-output', file))).size > 100, file);
  const words = await wordmask(['demo', 'sky,grass', 'tree', '--json'], { cwd });
  t.equal(words.code, 0, words.err);
  const { labels, right } = JSON.parse(words.out);
  t.ok(labels.length >= 1 && labels.every(({ name }: { name: string }) => ['sky', 'grass', 'tree'].includes(name)));
  t.equal(right, undefined);
});

t.test('vocab', needsData, async (t) => {
  const cwd = await folder(t);
  const model = await clipTinyFolder();
  t.teardown(() => rm(model, { recursive: true, force: true }));
  const built = await wordmask(
    [
      'vocab',
      'build',
      '-l',
      'cat,dog|puppy,"salt, pepper"',
      '--background',
      'threshold:0.3',
      '-m',
      model,
      '-o',
      'pets.json',
    ],
    { cwd },
  );
  t.equal(built.code, 0, built.err);
  t.same((await readdir(cwd)).sort(), ['pets.json', 'pets.safetensors']);
  const shown = JSON.parse((await wordmask(['vocab', 'show', 'pets.json', '--json'], { cwd })).out);
  t.match(shown, {
    labels: [{ name: 'cat' }, { name: 'dog', prompts: ['dog', 'puppy'] }, { name: 'salt, pepper' }],
    background: { mode: 'threshold', value: 0.3 },
    encoders: [/^[0-9a-f]{64}$/],
  });
  const printed = await wordmask(['vocab', 'build', '--from', 'voc20', '-l', 'zebra'], { cwd });
  t.equal(JSON.parse(printed.out).labels.length, 21);
  await writeFile(join(cwd, 'more.json'), printed.out);
  const difference = JSON.parse((await wordmask(['vocab', 'diff', 'voc20', 'more.json', '--json'], { cwd })).out);
  t.match(difference, { equal: false, added: ['zebra'], removed: [], changed: [], kept: 20 });
  t.match((await wordmask(['vocab', 'diff', 'pets.json', 'pets.json'], { cwd })).out, /equal/);
  t.match((await wordmask(['vocab', 'show', 'voc21'], { cwd })).out, /21 labels, 20 prompts/);
  const used = await wordmask(
    [
      'segment',
      data('photos/dog.jpg'),
      '-V',
      'pets.json',
      '-m',
      model,
      '--size',
      '32',
      '--refine',
      'none',
      '-o',
      'out',
    ],
    { cwd },
  );
  t.equal(used.code, 0, used.err);
  t.match((await loadLabels(join(cwd, 'out/dog.png'))).legend, [
    { name: 'cat' },
    { name: 'dog' },
    { name: 'salt, pepper' },
  ]);
  t.equal((await wordmask(['vocab', 'show', 'voc22'], { cwd })).code, 2);
  await writeFile(join(cwd, 'bad.json'), '{"format":"x"}');
  t.equal((await wordmask(['vocab', 'show', 'bad.json'], { cwd })).code, 3);
});

t.test('models', needsData, async (t) => {
  const cwd = await folder(t);
  const model = await clipTinyFolder();
  t.teardown(() => rm(model, { recursive: true, force: true }));
  const commit = 'a'.repeat(40);
  const snapshot = join(cwd, 'cache/models--some--model/snapshots', commit);
  await mkdir(join(cwd, 'cache/models--some--model/refs'), { recursive: true });
  await writeFile(join(cwd, 'cache/models--some--model/refs/main'), commit);
  await cp(model, snapshot, { recursive: true });
  const env = { HF_HUB_CACHE: join(cwd, 'cache') };
  t.match(JSON.parse((await wordmask(['models', 'list', '--json'], { cwd, env })).out), {
    models: [{ id: 'some/model', snapshots: [{ commit, refs: ['main'] }] }],
  });
  t.match(JSON.parse((await wordmask(['models', 'info', 'some/model', '--json'], { cwd, env })).out), {
    modelType: 'clip',
    weights: { tensors: 94 },
  });
  const verified = await wordmask(['models', 'verify', 'some/model'], { cwd, env });
  t.equal(verified.code, 0, verified.err);
  t.match(verified.out, /all values finite/);
  const weights = await readFile(join(snapshot, 'model.safetensors'));
  weights.writeFloatLE(Number.NaN, weights.length - 400);
  await writeFile(join(snapshot, 'model.safetensors'), weights);
  const damaged = await wordmask(['models', 'verify', snapshot], { cwd, env });
  t.equal(damaged.code, 3);
  t.match(damaged.err, /E_WEIGHTS_VALUE.*NaN/);
  t.equal((await wordmask(['models', 'rm', './x'], { cwd, env })).code, 2);
  t.equal((await wordmask(['models', 'rm', 'some/model'], { cwd, env })).code, 0);
  t.equal((await wordmask(['models', 'info', 'some/model'], { cwd, env })).code, 3);
  const offline = await wordmask(['models', 'pull', 'some/model'], { cwd, env: { ...env, HF_HUB_OFFLINE: '1' } });
  t.equal(offline.code, 5);
  t.match(offline.err, /E_OFFLINE/);
});

t.test('convert', async (t) => {
  const cwd = await folder(t);
  const legend = [
    { index: 0, name: 'cat' },
    { index: 1, name: 'dog' },
  ];
  const labels = Uint8Array.from({ length: 35 }, (_, i) => (i % 5 === 0 ? 255 : i % 2));
  await mkdir(join(cwd, 'in'));
  await saveLabels(join(cwd, 'in/a.png'), { width: 7, height: 5, labels, legend }, { format: 'png' });
  for (const [file, format] of [
    ['a.json', 'coco'],
    ['a-voc.png', 'voc'],
    ['a.safetensors', 'safetensors'],
    ['a-hf.json', 'hf'],
  ] as const) {
    const result = await wordmask(['convert', 'in/a.png', file, '-f', format], { cwd });
    t.equal(result.code, 0, result.err);
    const back = await loadLabels(join(cwd, file), { format, legend });
    t.same([...back.labels], [...labels], format);
  }
  t.equal(
    (await wordmask(['convert', 'in/a.png', 'a.npy', '-l', 'chat,chien'], { cwd })).code,
    0,
    'format from the extension',
  );
  const twice = await wordmask(['convert', 'in/a.png', 'a.npy'], { cwd });
  t.equal(twice.code, 2, 'a file that is there is kept');
  t.equal((await wordmask(['convert', 'in/a.png', 'a.npy', '--overwrite'], { cwd })).code, 0);
  await writeFile(join(cwd, 'in/bad.png'), 'no picture');
  const many = await wordmask(['convert', 'in', 'out', '--input-format', 'png', '-f', 'voc', '--json'], { cwd });
  t.equal(many.code, 1);
  t.match(JSON.parse(many.out), { files: [{ outputs: ['out/a.png'] }, { input: 'in/bad.png', code: /^E_/ }] });
  t.equal((await wordmask(['convert', 'none.png', 'x.npy'], { cwd })).code, 2);
});

t.test('doctor', async (t) => {
  const cwd = await folder(t);
  const result = await wordmask(['doctor', '--json', '--bundle', 'report.json'], {
    cwd,
    env: { HF_TOKEN: 'secret-token' },
  });
  t.equal(result.code, 0, result.err);
  const report = JSON.parse(result.out);
  t.match(report, {
    ok: true,
    devices: [
      { name: 'cpu', usable: true },
      { name: 'cuda', usable: false, reason: String },
    ],
    environment: { HF_TOKEN: 'set' },
  });
  t.ok(report.selfTest.length >= 8 && report.selfTest.every(({ ok }: { ok: boolean }) => ok));
  t.notMatch(result.out, /secret-token/);
  t.same(JSON.parse(await readFile(join(cwd, 'report.json'), 'utf8')), report);
  t.match((await wordmask(['doctor'], { cwd })).out, /all is well/);
});

t.test('bench', needsData, async (t) => {
  const cwd = await folder(t);
  const model = await clipTinyFolder();
  t.teardown(() => rm(model, { recursive: true, force: true }));
  const args = [
    'bench',
    data('photos/dog.jpg'),
    '-m',
    model,
    '-l',
    'cat,dog',
    '--size',
    '32',
    '--refine',
    'none',
    '-n',
    '3',
    '--warmup',
    '1',
  ];
  const result = await wordmask([...args, '--json', '-o', 'now.json'], { cwd });
  t.equal(result.code, 0, result.err);
  const bench = JSON.parse(result.out);
  t.match(bench, {
    format: 'wordmask-bench/1',
    machine: { tier: String, cores: Number },
    cases: [{ name: 'segment', runs: 3, median: Number, p99: Number, stages: { encode: Number } }],
  });
  t.ok(bench.cases[0].peakHostBytes > 1e7 && bench.cases[0].imagesPerSecond > 0);
  bench.cases[0].median = 1e-6;
  await writeFile(join(cwd, 'fast.json'), JSON.stringify(bench));
  const slower = await wordmask([...args, '--compare', 'fast.json', '--max-regress', '5%'], { cwd });
  t.equal(slower.code, 1);
  t.match(slower.out, /worse than allowed/);
  t.equal((await wordmask([...args, '--compare', 'fast.json'], { cwd })).code, 0, 'without a limit it only tells');
});
