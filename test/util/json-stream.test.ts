/** Long JSON files in pieces: the same values as JSON.parse, whatever the pieces; typed errors for everything else. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { type JsonPiece, readJsonStream } from '#lib/util/json-stream.js';

const folder = await mkdtemp(join(tmpdir(), 'wordmask-json-'));
t.teardown(() => rm(folder, { recursive: true, force: true }));
const file = join(folder, 'x.json');

async function read(text: string, arrays: readonly string[], values: readonly string[] = []): Promise<JsonPiece[]> {
  await writeFile(file, text);
  const pieces: JsonPiece[] = [];
  for await (const piece of readJsonStream(file, { arrays, values })) pieces.push(piece);
  return pieces;
}

t.test('random objects', async (t) => {
  await fc.assert(
    fc.asyncProperty(
      fc.record({ a: fc.array(fc.json()), b: fc.json(), c: fc.array(fc.string()), skipped: fc.json() }),
      fc.nat(3),
      async ({ a, b, c, skipped }, indent) => {
        const parsed = a.map((text) => JSON.parse(text) as unknown);
        const other = JSON.parse(b) as unknown;
        const text = JSON.stringify({ skipped: JSON.parse(skipped), a: parsed, b: other, c }, null, indent);
        const pieces = await read(text, ['a', 'c'], ['b']);
        t.strictSame(
          JSON.stringify(pieces),
          JSON.stringify([
            ...parsed.map((value, index) => ({ key: 'a', value, index })),
            { key: 'b', value: other },
            ...c.map((value, index) => ({ key: 'c', value, index })),
          ]),
        );
      },
    ),
    { numRuns: 40, seed: 7 },
  );
});

t.test('values across the pieces that are read', async (t) => {
  const long = Array.from({ length: 300 }, (_, i) => ({ id: i, text: `"\\ä}${'x'.repeat(i * 7)}]`, list: [i, [i]] }));
  const pieces = await read(JSON.stringify({ long, n: -1.5e-3, last: 7 }), ['long'], ['n', 'last']);
  t.same(
    pieces.slice(0, 300).map(({ value }) => value),
    long,
  );
  t.same(pieces.slice(300), [
    { key: 'n', value: -1.5e-3 },
    { key: 'last', value: 7 },
  ]);
  t.same(await read(' {"a" : [ ] , "b":{}}\n', ['a'], ['b']), [{ key: 'b', value: {} }]);
  t.same(await read('{"a": 3}', ['a']), [], 'what should be an array and is none is passed over');
});

t.test('what is no such file', async (t) => {
  for (const text of [
    '',
    '[1]',
    '{',
    '{"a": [1',
    '{"a": [1,]}',
    '{"a": [1] "b": 2}',
    '{"a": [1]}}',
    '{"a": [1, tru]}',
    '{"a": [{"x": 1, "x": 2}]}',
    '{"a": [], "a": []}',
    '{a: []}',
    '{"a": [1]} x',
    '{"a" []}',
    '{"a": [}',
  ])
    await t.rejects(read(text, ['a']), { code: 'E_IMAGE_FORMAT', message: /x\.json/ }, text);
  await t.rejects(
    read('{"a": []}', ['a']).then(() => readJsonStream(join(folder, 'no'), { arrays: [] }).next()),
    { code: 'E_DISK' },
  );
  await writeFile(file, '{"a": [1]}');
  const signal = AbortSignal.abort(new Error('enough'));
  await t.rejects(readJsonStream(file, { arrays: ['a'], signal }).next(), { message: 'enough' });
});
