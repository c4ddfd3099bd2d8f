/** safetensors: every check of the header, real files, round trips, random headers. */
import { mkdtemp, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import { WordmaskError } from '#lib/util/errors.js';
import { openSafetensors, parseSafetensors, safetensorsLimits, writeSafetensors } from '#lib/weights/index.js';

const data = process.env.WORDMASK_TEST_DATA;

/** A file from a header text (as is) and a number of data bytes. */
function file(header: string | Uint8Array, dataBytes: number, length?: bigint): Uint8Array {
  const text = Buffer.from(header);
  const bytes = Buffer.alloc(8 + text.length + dataBytes);
  bytes.writeBigUInt64LE(length ?? BigInt(text.length), 0);
  text.copy(bytes, 8);
  return bytes;
}

const one = (entry: string, dataBytes = 8): Uint8Array => file(`{"a":${entry}}`, dataBytes);

function refused(t: Test, bytes: Uint8Array, pattern: RegExp, name: string): void {
  try {
    parseSafetensors(bytes, 'x.safetensors');
    t.fail(`${name}: accepted`);
  } catch (error) {
    t.ok(error instanceof WordmaskError && error.code === 'E_WEIGHTS', `${name}: E_WEIGHTS`);
    t.match((error as Error).message, pattern, `${name}: says why`);
    t.match((error as Error).message, /x\.safetensors/, `${name}: names the file`);
  }
}

t.test('refuses what is malformed', async (t) => {
  const good = '{"dtype":"F32","shape":[2],"data_offsets":[0,8]}';
  parseSafetensors(one(good));
  refused(t, new Uint8Array(0), /0 bytes/, 'empty file');
  refused(t, new Uint8Array(9), /9 bytes/, 'nine bytes');
  refused(t, file('{}', 0, 100_000_001n), /100000001 bytes, the limit is 100000000/, 'header over the limit');
  refused(t, file('{}', 0, 0xffff_ffff_ffff_ffffn), /limit/, 'header length that wraps');
  refused(t, file('{}', 0, 40n), /truncated/, 'header beyond the file');
  refused(t, file('[]', 0), /begin with "\{"/, 'array');
  refused(t, file(' {}', 0), /begin with "\{"/, 'blank first');
  refused(t, file('{"a":1}', 0), /where "\{" must stand/, 'number as entry');
  refused(t, file('{}}', 0), /behind its closing brace/, 'text behind the end');
  refused(t, file('{"a"', 8), /where ":" must stand/, 'cut off');
  refused(t, file(`{"a":${good},}`, 8), /where """ must stand/, 'trailing comma');
  refused(t, file(`{"a":${good},"a":${good}}`, 8), /"a" twice/, 'tensor twice');
  refused(t, file(`{"a":${good},"\\u0061":${good}}`, 8), /"a" twice/, 'tensor twice, one name escaped');
  refused(t, one('{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}'), /"dtype" twice/, 'dtype twice');
  refused(t, one('{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1}'), /unknown key "x"/, 'unknown key');
  refused(t, one('{"dtype":"F32","shape":[2]}'), /lacks data_offsets/, 'no offsets');
  refused(
    t,
    one('{"dtype":"F99","shape":[2],"data_offsets":[0,8]}'),
    /"F99", which the format does not know/,
    'unknown dtype',
  );
  refused(
    t,
    one('{"dtype":"U64","shape":[1],"data_offsets":[0,8]}'),
    /"U64", which this package does not read/,
    'unreadable dtype',
  );
  refused(t, one('{"dtype":4,"shape":[1],"data_offsets":[0,8]}'), /not a string/, 'dtype as number');
  for (const value of ['-2', '2.0', '2e0', '02', '"2"', 'null', '9007199254740993', '1e400', '']) {
    refused(
      t,
      one(`{"dtype":"F32","shape":[${value}${value === '' ? ',' : ''}],"data_offsets":[0,8]}`),
      /in shape, where a whole number/,
      `shape [${value}]`,
    );
  }
  refused(t, one('{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,2],"data_offsets":[0,8]}'), /more than 8 numbers/, 'rank 9');
  refused(
    t,
    one('{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]}'),
    /more bytes than can be counted/,
    'product over 2^53',
  );
  refused(t, one('{"dtype":"F32","shape":[2],"data_offsets":[8,0]}'), /behind its end/, 'begin behind end');
  refused(t, one('{"dtype":"F32","shape":[2],"data_offsets":[0,8,8]}'), /more than 2 numbers/, 'three offsets');
  refused(t, one('{"dtype":"F32","shape":[2],"data_offsets":[8]}'), /has 1 data_offsets/, 'one offset');
  refused(t, one('{"dtype":"F32","shape":[3],"data_offsets":[0,8]}'), /takes 12 bytes.*span 8/, 'size against shape');
  refused(t, one(good, 4), /ends at byte 8, but the data section has 4/, 'data truncated');
  refused(t, one(good, 12), /end at byte 8, but the data section has 12/, 'data left over');
  const f32 = (begin: number, end: number): string =>
    `{"dtype":"F32","shape":[${(end - begin) / 4}],"data_offsets":[${begin},${end}]}`;
  refused(t, file(`{"a":${f32(0, 8)},"b":${f32(4, 12)}}`, 12), /"b" at bytes 4\.\.12 overlaps tensor "a"/, 'overlap');
  refused(t, file(`{"a":${f32(0, 8)},"b":${f32(0, 8)}}`, 8), /overlaps/, 'same bytes twice');
  refused(t, file(`{"a":${f32(0, 4)},"b":${f32(8, 12)}}`, 12), /hole behind byte 4/, 'hole');
  refused(t, file(`{"a":${f32(4, 12)}}`, 12), /hole behind byte 0/, 'hole in front');
  refused(t, file('{"__metadata__":{"a":1}}', 0), /not a string/, 'metadata number');
  refused(t, file('{"__metadata__":{"a":"1","a":"2"}}', 0), /twice/, 'metadata key twice');
  refused(t, file('{"__metadata__":{},"__metadata__":{}}', 0), /twice/, 'metadata twice');
  refused(t, file('{"__metadata__":[]}', 0), /where "\{" must stand/, 'metadata list');
  refused(
    t,
    file(Buffer.concat([Buffer.from('{"'), Buffer.from([0xff, 0xfe]), Buffer.from(`":${good}}`)]), 8),
    /UTF-8/,
    'ill-formed UTF-8',
  );
  refused(t, file(`{"\\ud800":${good}}`, 8), /UTF-8/, 'lone surrogate');
  refused(t, file(`{"\\q":${good}}`, 8), /wrong escape/, 'wrong escape');
  refused(t, file(`{"a\nb":${good}}`, 8), /control character/, 'control character');
  refused(t, file(`{"${'a'.repeat(5000)}":${good}}`, 8), /more than 4096 bytes/, 'name too long');
  refused(t, file(`{"a":${'['.repeat(100_000)}`, 0), /must stand/, 'deep nesting');
});

t.test('accepts what is well-formed', async (t) => {
  const header = parseSafetensors(
    file(
      '{"__proto__":{"dtype":"F32","shape":[],"data_offsets":[0,4]}, "é\\u00e9":{"shape":[0,3],"data_offsets":[4,4],"dtype":"I64"},"__metadata__":{"__proto__":"x","constructor":"y"}}   ',
      4,
    ),
  );
  t.same([...header.tensors.keys()], ['__proto__', 'éé']);
  t.equal(header.metadata.get('__proto__'), 'x');
  t.equal(({} as Record<string, unknown>).dtype, undefined, 'no prototype was changed');
  t.same(header.tensors.get('éé'), { dtype: 'I64', shape: [0, 3], begin: 4, end: 4 });
});

t.test('tensor count limit', async (t) => {
  const entry = '{"dtype":"U8","shape":[0],"data_offsets":[0,0]}';
  const many = Array.from({ length: safetensorsLimits.tensors + 1 }, (_, i) => `"${i}":${entry}`);
  refused(t, file(`{${many.join(',')}}`, 0), /more than 200000 tensors/, '200,001 tensors');
  const started = performance.now();
  t.equal(parseSafetensors(file(`{${many.slice(1).join(',')}}`, 0)).tensors.size, safetensorsLimits.tensors);
  t.comment(`200,000 tensors: ${(performance.now() - started).toFixed(0)} ms`);
});

t.test('files', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'wm-'));
  t.teardown(() => rm(folder, { recursive: true }));
  const path = join(folder, 'a.safetensors');
  const tensors: [
    string,
    Parameters<typeof writeSafetensors>[1] extends Iterable<readonly [string, infer T]> ? T : never,
  ][] = [
    ['flag', { dtype: 'bool', shape: [3], data: Uint8Array.of(1, 0, 1) }],
    ['weight', { shape: [2, 2], data: Float32Array.of(1, -2, 3.5, NaN) }],
    ['half', { dtype: 'bf16', shape: [1], data: Uint16Array.of(0x3f80) }],
    ['ids', { shape: [2], data: BigInt64Array.of(-5n, 7n) }],
    ['late', { dtype: 'F64', shape: [1], data: async () => Float64Array.of(Math.PI) }],
  ];
  await writeSafetensors(path, tensors, { metadata: { format: 'pt' } });
  t.same(
    await writeSafetensors(null, tensors.reverse(), { metadata: { format: 'pt' } }),
    await readFile(path),
    'equal content gives equal bytes',
  );
  const opened = await openSafetensors(path);
  t.equal(opened.metadata.get('format'), 'pt');
  t.equal(opened.dataOffset % 8, 0, 'data are aligned');
  t.equal(opened.fileBytes, (await stat(path)).size);
  t.same(await opened.readArray('weight'), { data: Float32Array.of(1, -2, 3.5, NaN), dtype: 'f32', shape: [2, 2] });
  t.same((await opened.readArray('ids')).data, Int32Array.of(-5, 7), 'I64 is narrowed');
  t.same((await opened.readArray('late')).data, Float64Array.of(Math.PI));
  await t.rejects(opened.read('nothing'), { code: 'E_WEIGHTS', message: /"nothing"/ });
  await truncate(path, opened.fileBytes - 1);
  await t.rejects(opened.read('flag'), { code: 'E_WEIGHTS', message: /ends early/ });
  await opened.close();
  await t.rejects(openSafetensors(path), { code: 'E_WEIGHTS' }, 'truncated');
  await t.rejects(openSafetensors(join(folder, 'none.safetensors')), { code: 'E_WEIGHTS', message: /does not exist/ });
  await t.rejects(openSafetensors(folder), { code: 'E_WEIGHTS', message: /is a folder/ });
  await t.rejects(openSafetensors(path, { signal: AbortSignal.abort(new Error('stop')) }), /stop/);
  await t.rejects(writeSafetensors(path, [['a', { shape: [2], data: Float32Array.of(1) }]]), { code: 'E_USAGE' });
  const wide = await writeSafetensors(null, [['a', { shape: [1], data: BigInt64Array.of(1n << 31n) }]]);
  await writeFile(path, wide);
  const again = await openSafetensors(path);
  await t.rejects(again.readArray('a'), { code: 'E_WEIGHTS', message: /2147483648 at index 0/ });
  await again.close();
});

t.test('published files', { skip: data ? false : 'WORDMASK_TEST_DATA is not set' }, async (t) => {
  for (const name of ['model', 'inputs', 'expected', 'gradients']) {
    const opened = await openSafetensors(join(data as string, 'reference-models/clip-tiny', `${name}.safetensors`));
    t.ok(opened.tensors.size > 0, `${name}: ${opened.tensors.size} tensors`);
    for (const tensor of opened.tensors.keys()) {
      const { data: values, shape } = await opened.readArray(tensor);
      t.equal(
        values.length,
        shape.reduce((product, d) => product * d, 1),
        tensor,
      );
    }
    await opened.close();
  }
});

t.test('random bytes and damaged headers end in E_WEIGHTS or a parse', async (t) => {
  const outcome = (bytes: Uint8Array): boolean => {
    try {
      const { tensors, dataOffset } = parseSafetensors(bytes);
      return [...tensors.values()].every(({ begin, end }) => begin <= end && dataOffset + end <= bytes.length);
    } catch (error) {
      return error instanceof WordmaskError && error.code === 'E_WEIGHTS';
    }
  };
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), outcome), { numRuns: 300 });
  fc.assert(
    fc.property(fc.json(), fc.nat(64), (json, extra) => outcome(file(json, extra))),
    { numRuns: 500 },
  );
  const valid = await writeSafetensors(
    null,
    [
      ['a.b', { shape: [2, 3], data: new Float32Array(6) }],
      ['c', { shape: [5], data: new Uint8Array(5) }],
    ],
    { metadata: { k: 'v' } },
  );
  fc.assert(
    fc.property(fc.nat(valid.length - 1), fc.nat(255), (at, value) => {
      const damaged = Uint8Array.from(valid);
      damaged[at] = value;
      return outcome(damaged);
    }),
    { numRuns: 2000 },
  );
  fc.assert(
    fc.property(fc.nat(valid.length - 1), (length) => {
      t.throws(() => parseSafetensors(valid.subarray(0, length)), { code: 'E_WEIGHTS' });
    }),
    { numRuns: 50 },
  );
});

t.test('what is written is read back', async () => {
  const name = fc.string({ unit: 'binary', minLength: 1, maxLength: 20 }).filter((s) => s !== '__metadata__');
  const shape = fc.array(fc.nat(4), { maxLength: 4 });
  await fc.assert(
    fc.asyncProperty(
      fc.uniqueArray(fc.tuple(name, shape), { selector: ([n]) => n, maxLength: 6 }),
      fc.dictionary(fc.string({ unit: 'binary' }), fc.string({ unit: 'binary' })),
      async (items, metadata) => {
        const tensors = items.map(
          ([n, s], i) => [n, { shape: s, data: new Float32Array(s.reduce((p, d) => p * d, 1)).fill(i) }] as const,
        );
        const bytes = await writeSafetensors(null, tensors, { metadata });
        const header = parseSafetensors(bytes);
        for (const [n, { shape: s, data: values }] of tensors) {
          const entry = header.tensors.get(n);
          if (!entry || entry.shape.join() !== s.join()) throw new Error(`shape of ${n}`);
          const read = bytes.subarray(header.dataOffset + entry.begin, header.dataOffset + entry.end);
          if (Buffer.compare(read, new Uint8Array(values.buffer)) !== 0) throw new Error(`values of ${n}`);
        }
        for (const [key, value] of Object.entries(metadata))
          if (header.metadata.get(key) !== value) throw new Error(`metadata ${key}`);
      },
    ),
    { numRuns: 200 },
  );
});
