/** Image-caption pairs from folders, lists and tar shards, whole and damaged. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { openFolderPairs, openJsonlPairs, openTarPairs } from '#lib/data/pairs/index.js';
import { isProblem, type PairSource } from '#lib/data/types.js';
import { writePng } from '#lib/image/png.js';
import { tarFile } from './tar.js';

const png = (seed: number, width = 8, height = 6): Promise<Uint8Array> =>
  writePng({
    width,
    height,
    kind: 'rgb',
    data: Uint8Array.from({ length: width * height * 3 }, (_, i) => (i * seed) % 256),
  });

async function all(source: PairSource) {
  const samples = await source.read(Array.from({ length: source.count }, (_, index) => ({ index, epoch: 0 })));
  await source.close();
  return samples.map((sample) =>
    isProblem(sample)
      ? { key: sample.key, problem: `${sample.code} ${sample.problem}` }
      : {
          key: sample.key,
          captions: sample.captions,
          nouns: sample.nouns,
          size: [sample.image.width, sample.image.height],
        },
  );
}

t.test('tar shards', async (t) => {
  const folder = t.testdir();
  const [a, b, c] = await Promise.all([png(3), png(5), png(7, 40, 20)]);
  const first = tarFile([
    ['./', '', { type: '5' }],
    ['a.png', a],
    ['a.txt', 'a cat\n\na second caption'],
    ['dir.v1/b.jpg', b],
    ['dir.v1/b.json', JSON.stringify({ caption: 'a dog', nouns: ['dog', 3, ''] })],
    ['dir.v1/b.seg.npy', 'not ours'],
    [`${'long/'.repeat(40)}c.png`, c, { pax: true }],
    [`${'long/'.repeat(40)}c.txt`, 'a bird', { gnu: true }],
  ]);
  await writeFile(join(folder, 's-000.tar'), first);
  await writeFile(
    join(folder, 's-001.tar'),
    tarFile([
      ['d.png', a],
      ['d.txt', 'last'],
    ]),
  );
  const expected = [
    { key: 's-000.tar/a', captions: ['a cat', 'a second caption'], nouns: undefined, size: [8, 6] },
    { key: 's-000.tar/dir.v1/b', captions: ['a dog'], nouns: ['dog'], size: [8, 6] },
    { key: `s-000.tar/${'long/'.repeat(40)}c`, captions: ['a bird'], nouns: undefined, size: [20, 10] },
    { key: 's-001.tar/d', captions: ['last'], nouns: undefined, size: [8, 6] },
  ];
  for (const path of [folder, join(folder, 's-{000..001}.tar'), join(folder, '*.tar')])
    t.same(await all(await openTarPairs([path], { side: 10 })), expected, path.slice(folder.length) || 'folder');
  await t.rejects(openTarPairs([join(folder, 'none.tar')]), { code: 'E_USAGE' });
  await t.rejects(openTarPairs([join(folder, 's-{000..002}.tar')]), { code: 'E_USAGE', message: /s-002/ });
  await t.rejects(openTarPairs([join(folder, 's-{0..99999999}.tar')]), { code: 'E_USAGE', message: /counts/ });
  await writeFile(join(folder, 'packed.tar'), Buffer.from('1f8b080000', 'hex'));
  await t.rejects(openTarPairs([join(folder, 'packed.tar')]), { code: 'E_USAGE', message: /compressed/ });
});

t.test('broken shards', async (t) => {
  const folder = t.testdir();
  const path = join(folder, 's.tar');
  const [a, b] = await Promise.all([png(3), png(5)]);
  const members = [
    ['a.png', a],
    ['a.txt', 'one'],
    ['broken.png', a.slice(0, 40)],
    ['broken.txt', 'two'],
    ['no-picture.txt', 'three'],
    ['no-caption.png', b],
    ['bytes.png', b],
    ['bytes.txt', Buffer.from([0xff, 0xfe, 0x20, 0x61, 0x62, 0x00, 0xc3])],
    ['bad-json.png', b],
    ['bad-json.json', '{"caption": '],
    ['z.png', b],
    ['z.txt', 'four'],
  ] as [string, Uint8Array | string][];
  await writeFile(path, tarFile(members));
  const warnings: string[] = [];
  const onWarn = (message: string): void => void warnings.push(message);
  const samples = await all(await openTarPairs([path], { onWarn }));
  const texts = samples.map((sample) => sample.problem ?? sample.captions?.join());
  t.match(texts[0], 'one');
  t.match(texts[1], /^E_IMAGE_CORRUPT/);
  t.match(texts[2], /^E_IMAGE_FORMAT has no .jpg/);
  t.match(texts[3], /^E_LABEL has no caption/);
  t.equal(texts[4], '\ufffd\ufffd ab \ufffd', 'bytes that are no text become marks');
  t.match(texts[5], /^E_LABEL has no caption/);
  t.equal(texts[6], 'four');
  t.same(warnings, []);

  const bytes = tarFile(members);
  bytes[512 + 512 + 60] = 1; // the name of a.txt: its checksum no longer fits
  bytes.fill(0xaa, 5 * 512, 6 * 512); // the header of broken.txt
  await writeFile(path, bytes);
  const rest = await all(await openTarPairs([path], { onWarn }));
  t.equal(rest.at(-1)?.captions?.join(), 'four', 'what stands behind a broken header is found');
  t.match(warnings[0], /bytes from byte \d+ on are no tar member/);

  for (const size of [0, 100, 511, 513, 700, 5 * 512 + 3, 12 * 512 + 1]) {
    await writeFile(path, tarFile(members).subarray(0, size));
    const found = await openTarPairs([path]).then(all, (error: { code: string }) => error.code);
    t.ok(found === 'E_USAGE' || Array.isArray(found), `a file cut after ${size} bytes`);
  }
  const huge = tarFile([['a.png', a]]);
  huge.write('77777777777', 124);
  await writeFile(
    path,
    Buffer.concat([
      fixChecksum(huge),
      tarFile([
        ['b.png', b],
        ['b.txt', 'behind'],
      ]),
    ]),
  );
  t.equal((await all(await openTarPairs([path]))).at(-1)?.captions?.join(), 'behind', 'a size beyond the file');
});

function fixChecksum(bytes: Buffer): Buffer {
  bytes.fill(0x20, 148, 156);
  const sum = bytes.subarray(0, 512).reduce((total, byte) => total + byte, 0);
  bytes.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return bytes;
}

t.test('lists and folders', async (t) => {
  const folder = t.testdir();
  await mkdir(join(folder, 'sub'));
  const picture = await png(3);
  for (const name of ['a.png', 'b.png', 'sub/c.png']) await writeFile(join(folder, name), picture);
  await writeFile(join(folder, 'a.txt'), 'from text');
  await writeFile(join(folder, 'sub/c.json'), '{"captions": ["from json", 5, "", "again"], "nouns": ["thing"]}');
  t.match(await all(await openFolderPairs(folder)), [
    { key: 'a.png', captions: ['from text'] },
    { key: 'b.png', problem: 'E_LABEL has no caption' },
    { key: 'sub/c.png', captions: ['from json', 'again'], nouns: ['thing'] },
  ]);
  const lines = [
    '{"image": "a.png", "caption": "one"}',
    '',
    '  ',
    '{"path": "sub/c.png", "captions": ["two", "three"], "nouns": ["x"]}',
    '{"image": "none.png", "caption": "four"}',
    'nonsense',
    '{"caption": "no image"}',
    '{"image": "http://example.org/a.png", "caption": "five"}',
    '{"image": "b.png", "caption": "\\ud800 six"}',
    '{"image": "b.png"}',
  ];
  await writeFile(join(folder, 'captions.jsonl'), lines.join('\r\n'));
  const found = await all(await openFolderPairs(folder));
  t.same(
    found.map(({ captions, problem }) => captions?.join() ?? problem?.slice(0, 7)),
    [
      'one',
      'two,three',
      found[2]?.problem?.slice(0, 7),
      'E_LABEL',
      'E_LABEL',
      found[5]?.problem?.slice(0, 7),
      '\ufffd six',
      'E_LABEL',
    ],
  );
  await writeFile(join(folder, 'empty.jsonl'), '\n\n');
  await t.rejects(openJsonlPairs(join(folder, 'empty.jsonl'), folder), { code: 'E_USAGE' });
  await t.rejects(openFolderPairs(join(folder, 'none')), { code: 'E_USAGE' });
  await mkdir(join(folder, 'bare'));
  await t.rejects(openFolderPairs(join(folder, 'bare')), { code: 'E_USAGE' });
});
