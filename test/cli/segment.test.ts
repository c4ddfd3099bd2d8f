/** `wordmask segment` as a user runs it: formats, batches, kills, interrupts, wrong input. */
import { createHash } from 'node:crypto';
import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { loadLabels, readPng } from '#lib/entry/formats.js';
import { decodeImage } from '#lib/image/decode.js';
import { clipTinyFolder, data, needsData } from '../helpers/data.js';
import { type Result, type RunOptions, wordmask } from './command.js';

// On a busy machine every start of the command takes seconds.
t.setTimeout(300_000);

const quick = ['--size', '32', '--refine', 'none'];

interface Place {
  readonly root: string;
  readonly model: string;
}

/** A working folder with a few photographs. */
async function place(t: Test, photos = ['dog.jpg', 'chelsea.png', 'voc-2008_007006.jpg']): Promise<Place> {
  const root = await mkdtemp(join(tmpdir(), 'wordmask-cli-'));
  t.teardown(() => rm(root, { recursive: true, force: true }));
  await mkdir(join(root, 'in'));
  for (const name of photos) await copyFile(data('photos', name), join(root, 'in', name));
  return { root, model: await model() };
}

let shared: Promise<string> | undefined;
function model(): Promise<string> {
  shared ??= clipTinyFolder();
  return shared;
}
t.teardown(async () => shared && rm(await shared, { recursive: true, force: true }));

const segment = ({ root, model }: Place, args: readonly string[], options: Partial<RunOptions> = {}): Promise<Result> =>
  wordmask(['segment', ...args, '-m', model, ...quick], { cwd: root, ...options });

const errorCode = ({ err }: Result): string | undefined => /E_[A-Z_]+/.exec(err)?.[0];
const records = async (file: string) =>
  (await readFile(file, 'utf8'))
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line));
const sha256 = async (file: string): Promise<string> =>
  createHash('sha256')
    .update(await readFile(file))
    .digest('hex');

t.test('every format, right size, read back', needsData, async (t) => {
  const here = await place(t);
  const formats = 'png,voc,ade,rgb,overlay,coco,coco-panoptic,hf,npy,safetensors';
  const result = await segment(here, ['in', '-l', 'cat,dog|puppy,grass', '-f', formats, '-o', 'out', '--jsonl']);
  t.equal(result.code, 0, result.err);
  const lines = result.out
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  t.same(
    lines.map(({ name }) => name),
    ['chelsea', 'dog', 'voc-2008_007006'],
  );
  const written = await records(join(here.root, 'out/manifest.jsonl'));
  t.equal(written.length, 3);
  for (const { name, input, width, height, outputs, sha256: hash } of written) {
    const picture = await decodeImage(join(here.root, input));
    t.same([width, height], [picture.width, picture.height], `${name} has the picture's size`);
    t.equal(hash, await sha256(join(here.root, input)));
    t.equal(outputs.length, 11, 'panoptic has two files');
    for (const output of outputs)
      t.equal(await sha256(join(here.root, 'out', output.file)), output.sha256, output.file);
    const plain = await loadLabels(join(here.root, 'out', `${name}.png`), { format: 'png' });
    t.same(
      plain.legend.map((entry) => entry.name),
      ['cat', 'dog', 'grass'],
    );
    t.match(plain.provenance, { system: 'naclip', input: hash });
    t.notMatch(JSON.stringify(plain.provenance), new RegExp(here.root), 'no paths');
    for (const format of ['voc', 'ade', 'rgb', 'coco', 'coco-panoptic', 'hf', 'npy', 'safetensors']) {
      const { file } = outputs.find((output: { format: string }) => output.format === format);
      const { legend } = plain;
      const back = await loadLabels(join(here.root, 'out', file), { format, legend, width, height });
      t.ok(Buffer.from(back.labels).equals(Buffer.from(plain.labels)), `${name}: ${format} holds the same labels`);
    }
    const overlay = await readPng(await readFile(join(here.root, 'out', `${name}.overlay.png`)));
    t.ok(overlay.width >= width && overlay.height > height, 'the legend is below the picture');
  }
});

t.test('orientation, stdin and stdout', needsData, async (t) => {
  const here = await place(t, ['voc-2008_007006.jpg']);
  const sharp = (await import('sharp')).default;
  const photo = join(here.root, 'in/voc-2008_007006.jpg');
  const { width, height } = await sharp(photo).metadata();
  const turned = await sharp(photo).withMetadata({ orientation: 6 }).jpeg({ quality: 95 }).toBuffer();
  const result = await segment(here, ['-', '-l', 'cat,dog', '-o', '-', '-f', 'voc'], { input: turned });
  t.equal(result.code, 0, result.err);
  const png = await readPng(result.stdout);
  t.same([png.width, png.height], [height, width], 'a turned photograph gives a turned mask');
  t.equal((await segment(here, ['in', 'in/nope.jpg', '-l', 'cat', '-o', '-'])).code, 2);
  t.same(await readdir(here.root), ['in'], 'stdout leaves no file behind');
});

t.test('resume after a kill at any moment', needsData, async (t) => {
  const here = await place(t);
  for (let i = 0; i < 12; i++) await copyFile(data('photos/dog.jpg'), join(here.root, 'in', `more-${i}.jpg`));
  const args = ['in', '-l', 'cat,dog', '-f', 'png,coco', '-o', 'out'];
  const killed = await segment(here, args, {
    onOutput: (child, out) => {
      if (out.split('\n').length > 4) child.kill('SIGKILL');
    },
  });
  t.equal(killed.signal, 'SIGKILL');
  const manifest = join(here.root, 'out/manifest.jsonl');
  const before = await records(manifest);
  t.ok(before.length >= 3 && before.length < 15, `${before.length} of 15 were done`);
  // What a kill in the middle of a write and a meddling hand leave behind.
  const text = await readFile(manifest, 'utf8');
  await writeFile(manifest, `${text}{"name":"more-9","inp`);
  await writeFile(join(here.root, 'out/.wordmask-abcdefghijkl.tmp'), 'half');
  await truncate(join(here.root, 'out', before[0].outputs[0].file), 10);
  await rm(join(here.root, 'out', before[1].outputs[1].file));
  const resumed = await segment(here, [...args, '--resume', '--json']);
  t.equal(resumed.code, 0, resumed.err);
  const { done, alreadyDone } = JSON.parse(resumed.out);
  t.equal(alreadyDone, before.length - 2, 'outputs that do not fit their hash are not trusted');
  t.equal(done + alreadyDone, 15);
  const files = await readdir(join(here.root, 'out'));
  t.equal(files.length, 31, 'two outputs an image and the manifest, no half files');
  const latest = new Map((await records(manifest)).map((record) => [record.name, record]));
  t.equal(latest.size, 15);
  for (const { outputs } of latest.values())
    for (const { file, sha256: hash } of outputs) t.equal(await sha256(join(here.root, 'out', file)), hash);
  const again = await segment(here, [...args, '--resume', '--json']);
  t.equal(JSON.parse(again.out).alreadyDone, 15, 'nothing is left');
  const other = await segment(here, ['in', '-l', 'cat,horse', '-f', 'png,coco', '-o', 'out', '--resume', '--json']);
  t.equal(JSON.parse(other.out).alreadyDone, 0, 'other words are other results');
});

t.test('interrupts', needsData, async (t) => {
  const here = await place(t, ['dog.jpg']);
  for (let i = 0; i < 30; i++) await copyFile(data('photos/dog.jpg'), join(here.root, 'in', `more-${i}.jpg`));
  const stop = (signal: NodeJS.Signals, times: number, out: string): Promise<Result> => {
    let sent = 0;
    return segment(here, ['in', '-l', 'cat,dog', '-o', out], {
      onOutput: (child) => {
        while (sent < times && child.kill(signal)) sent++;
      },
    });
  };
  for (const [signal, code] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const) {
    const result = await stop(signal, 1, signal);
    t.equal(result.code, code);
    t.match(result.err, /to go on: wordmask segment in .*--resume/);
    const written = await records(join(here.root, signal, 'manifest.jsonl'));
    t.ok(written.length >= 1 && written.length < 31, `${written.length} of 31 were finished`);
    t.equal(
      written.filter(({ status }) => status === 'done').length,
      written.length,
      'the running images were finished',
    );
    t.equal((await readdir(join(here.root, signal))).length, written.length + 1);
  }
  t.equal((await stop('SIGINT', 2, 'twice')).code, 130);
});

t.test('bad pictures', needsData, async (t) => {
  const here = await place(t, ['chelsea.png', 'dog.jpg']);
  const { size } = await stat(join(here.root, 'in/dog.jpg'));
  await copyFile(join(here.root, 'in/dog.jpg'), join(here.root, 'in/cut.jpg'));
  await truncate(join(here.root, 'in/cut.jpg'), Math.floor(size / 2));
  await writeFile(join(here.root, 'in/empty.png'), '');
  await writeFile(join(here.root, 'in/svg.png'), '<svg xmlns="http://www.w3.org/2000/svg"/>');
  const skipped = await segment(here, ['in', '-l', 'cat,dog', '-o', 'out', '--on-error', 'skip']);
  t.equal(skipped.code, 1);
  const written = await records(join(here.root, 'out/manifest.jsonl'));
  t.same(Object.fromEntries(written.map(({ name, status, code }) => [name, code ?? status])), {
    chelsea: 'done',
    cut: 'E_IMAGE_CORRUPT',
    dog: 'done',
    empty: 'E_IMAGE_CORRUPT',
    svg: 'E_IMAGE_FORMAT',
  });
  for (const name of ['cut.jpg', 'empty.png', 'svg.png']) t.match(skipped.err, name, 'named on stderr');
  const stopped = await segment(here, ['in/cut.jpg', 'in/dog.jpg', '-l', 'cat,dog', '-o', 'stop', '--json']);
  t.equal(stopped.code, 3);
  t.match(JSON.parse(stopped.err.split('\n').find((line) => line.startsWith('{')) as string), {
    error: { code: 'E_IMAGE_CORRUPT' },
    image: 'in/cut.jpg',
  });
  const large = await segment(here, ['in/dog.jpg', '-l', 'cat', '--limit-pixels', '1000']);
  t.same([large.code, errorCode(large)], [3, 'E_IMAGE_SIZE']);
});

t.test('shards share a folder', needsData, async (t) => {
  const here = await place(t);
  for (const shard of ['1/2', '2/2'])
    t.equal((await segment(here, ['in', '-l', 'cat,dog', '-o', 'out', '--shard', shard])).code, 0);
  t.same((await readdir(join(here.root, 'out'))).sort(), [
    'chelsea.png',
    'dog.png',
    'manifest-1-of-2.jsonl',
    'manifest-2-of-2.jsonl',
    'voc-2008_007006.png',
  ]);
});

t.test('dry run', needsData, async (t) => {
  const here = await place(t);
  const result = await segment(here, ['in', '-l', 'cat,dog', '--dry-run', '--json']);
  t.equal(result.code, 0, result.err);
  const { images } = JSON.parse(result.out);
  t.same(
    images.map(({ outputs }: { outputs: string[] }) => outputs),
    [['wordmask-out/chelsea.png'], ['wordmask-out/dog.png'], ['wordmask-out/voc-2008_007006.png']],
  );
  t.ok(images.every(({ plan }: { plan: { deviceBytes: number; fits: boolean } }) => plan.deviceBytes > 0 && plan.fits));
  t.same(await readdir(here.root), ['in'], 'nothing was written');
});

t.test('wrong calls', needsData, async (t) => {
  const here = await place(t, ['dog.jpg']);
  await writeFile(join(here.root, 'many.txt'), Array.from({ length: 10_001 }, (_, i) => `label ${i}`).join('\n'));
  await writeFile(join(here.root, 'long.txt'), 'a'.repeat(1_000_000));
  await writeFile(join(here.root, 'file'), '');
  const photo = 'in/dog.jpg';
  const wrong: [string, number, string, string[]][] = [
    ['no image', 2, 'E_USAGE', ['-l', 'cat']],
    ['no words', 2, 'E_USAGE', [photo]],
    ['empty label list', 3, 'E_VOCAB', [photo, '-l', '']],
    ['empty label', 3, 'E_LABEL', [photo, '-l', 'cat,,dog']],
    ['label twice', 3, 'E_LABEL', [photo, '-l', 'cat,Cat']],
    ['10,001 labels', 3, 'E_VOCAB', [photo, '-l', '@many.txt']],
    ['label of 1 MB', 3, 'E_LABEL', [photo, '-l', '@long.txt']],
    ['missing list', 2, 'E_USAGE', [photo, '-l', '@none.txt']],
    ['missing image', 2, 'E_USAGE', ['in/none.jpg', '-l', 'cat']],
    ['a web address', 2, 'E_URL_FORBIDDEN', ['http://localhost/x.jpg', '-l', 'cat']],
    ['missing vocabulary', 3, 'E_VOCAB', [photo, '-V', 'none.json']],
    ['unknown format', 2, 'E_OPTION', [photo, '-l', 'cat', '-f', 'vocc']],
    ['unknown system option', 2, 'E_OPTION', [photo, '-l', 'cat', '--set', 'sigmo=3']],
    ['unknown option', 2, 'E_USAGE', [photo, '-l', 'cat', '--resum']],
    ['bad number', 2, 'E_OPTION', [photo, '-l', 'cat', '--threads', 'two']],
    ['bad shard', 2, 'E_OPTION', [photo, '-l', 'cat', '--shard', '3/2']],
    ['absent device', 4, 'E_DEVICE', [photo, '-l', 'cat', '--device', 'cuda:7']],
    ['too little memory', 4, 'E_MEMORY_PLAN', [photo, '-l', 'cat', '--memory', '1MiB']],
    ['output is a file', 6, 'E_DISK', [photo, '-l', 'cat', '-o', 'file']],
    ['output cannot be made', 6, 'E_DISK', [photo, '-l', 'cat', '-o', '/proc/none/at/all']],
    ['output is the input', 2, 'E_USAGE', ['in/dog.png', '-l', 'cat', '-o', 'in']],
  ];
  await copyFile(data('photos/chelsea.png'), join(here.root, 'in/dog.png'));
  await Promise.all(
    wrong.map(async ([name, code, error, args]) => {
      const result = await segment(here, args);
      t.equal(result.code, code, `${name}: ${result.err}`);
      t.match(errorCode(result), new RegExp(`^${error}`), name);
    }),
  );
  const none = await wordmask(['segment', photo, '-l', 'cat'], { cwd: here.root });
  t.equal(none.code, 0, none.err);
  t.match(none.err, /no model was named: using the built-in 'tiny'/);
});

t.test('config file, then variables, then flags', needsData, async (t) => {
  const here = await place(t, ['dog.jpg']);
  const config = {
    model: here.model,
    labels: ['cat', 'dog|puppy'],
    minArea: 5,
    segment: { format: ['voc'], out: 'masks', minArea: 6 },
    bench: { runs: 3 },
  };
  await writeFile(join(here.root, 'wordmask.config.json'), JSON.stringify(config));
  const print = async (args: string[], env = {}) =>
    wordmask(['segment', 'in/dog.jpg', ...args, '--print-config'], { cwd: here.root, env });
  const sum = JSON.parse(
    (await print(['--threads', '1'], { WORDMASK_MIN_AREA: '7', WORDMASK_THREADS: '2', WORDMASK_OVERLAY: '1' })).out,
  );
  t.match(sum.options, { labels: ['cat', 'dog|puppy'], minArea: 7, format: ['voc'], threads: 1, overlay: true });
  t.match(sum.sources, { labels: 'wordmask.config.json', minArea: 'WORDMASK_MIN_AREA', threads: '--threads' });
  const result = await wordmask(['segment', 'in/dog.jpg', ...quick], { cwd: here.root });
  t.equal(result.code, 0, result.err);
  t.same(await readdir(join(here.root, 'masks')), ['dog.png']);
  t.match(await loadLabels(join(here.root, 'masks/dog.png'), { format: 'voc' }), {
    legend: [{ name: 'cat' }, { name: 'dog' }],
  });
  for (const [bad, hint] of [
    ['{"modell":"x"}', /did you mean "model"/],
    ['{"segment":{"runs":1}}', /unknown option "runs"/],
    ['{"threads":"x"}', /whole number/],
    ['[', /JSON/],
    ['{"model":"a","model":"b"}', /twice/],
  ] as const) {
    await writeFile(join(here.root, 'wordmask.config.json'), bad);
    const refused = await print([]);
    t.same([refused.code, errorCode(refused)], [2, 'E_OPTION'], bad);
    t.match(refused.err, hint);
  }
});
