/** Shards, key maps, .npy files, PyTorch files, finite values. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { Tensor } from '#lib/engine/index.js';
import { WordmaskError } from '#lib/util/errors.js';
import {
  assertCoverage,
  checkFinite,
  coverage,
  encodeNpy,
  type KeyRule,
  mapKeys,
  type NpyArray,
  openWeights,
  parseNpy,
  readNpy,
  writeNpy,
  writeSafetensors,
} from '#lib/weights/index.js';

const data = process.env.WORDMASK_TEST_DATA;

async function folder(t: { teardown(fn: () => Promise<void>): void }): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'wm-'));
  t.teardown(() => rm(path, { recursive: true, force: true }));
  return path;
}

t.test('shards', async (t) => {
  const dir = await folder(t);
  const index = join(dir, 'model.safetensors.index.json');
  const write = (map: unknown): Promise<void> =>
    writeFile(index, typeof map === 'string' ? map : JSON.stringify({ metadata: {}, weight_map: map }));
  await writeSafetensors(join(dir, 'm-1.safetensors'), [['a', { shape: [2], data: Float32Array.of(1, 2) }]]);
  await writeSafetensors(join(dir, 'm-2.safetensors'), [
    ['b', { shape: [1], data: Float32Array.of(3) }],
    ['c', { shape: [0], data: new Float32Array() }],
  ]);
  await write({ a: 'm-1.safetensors', b: 'm-2.safetensors', c: 'm-2.safetensors' });
  const set = await openWeights(index);
  t.same([...set.tensors.keys()], ['a', 'b', 'c']);
  t.equal(set.bytes, 12);
  t.same((await set.tensors.get('b')?.file.readArray('b'))?.data, Float32Array.of(3));
  await set.close();
  const refused = async (map: unknown, pattern: RegExp): Promise<void> => {
    await write(map);
    await t.rejects(openWeights(index), { code: 'E_WEIGHTS', message: pattern });
  };
  await refused({ a: '../m-1.safetensors' }, /in the same folder/);
  await refused({ a: '/etc/passwd' }, /in the same folder/);
  await refused({ a: 'm-1.safetensors\0.safetensors' }, /in the same folder/);
  await refused({ a: 3 }, /in the same folder/);
  await refused([], /weight_map/);
  await refused('{"weight_map":{"a":"m-1.safetensors","a":"m-2.safetensors"}}', /twice/);
  await refused('{"__proto__":{"weight_map":{}}}', /weight_map/);
  await refused(
    { a: 'm-1.safetensors', b: 'm-3.safetensors', c: 'm-4.safetensors', d: 'm-1.safetensors' },
    /m-3.*missing.*m-4.*missing.*lacks the tensor "d"/,
  );
  await refused({ a: 'm-1.safetensors', b: 'm-2.safetensors' }, /"c", which the index does not name/);
  await refused(
    { a: 'm-2.safetensors', b: 'm-2.safetensors', c: 'm-2.safetensors', d: 'm-1.safetensors' },
    /by the index, in "m-2/,
  );
});

const clipRules: KeyRule[] = [
  { from: 'visual.proj', to: 'visual_projection.weight', transpose: true },
  {
    from: 'visual.transformer.resblocks.*.attn.in_proj_*',
    to: ['q', 'k', 'v'].map((x) => `vision_model.encoder.layers.*.self_attn.${x}_proj.*`),
  },
  { from: 'visual.**', to: 'vision_model.**' },
  { from: 'cls', to: 'cls', reshape: [1, 1, -1] },
  { from: 'queue_**', to: null },
];

t.test('key maps', async (t) => {
  const plan = mapKeys(
    'm',
    [
      ['visual.proj', { shape: [768, 512] }],
      ['visual.transformer.resblocks.11.attn.in_proj_weight', { shape: [2304, 768] }],
      ['visual.transformer.resblocks.11.attn.in_proj_bias', { shape: [2304] }],
      ['visual.ln_post.bias', { shape: [768] }],
      ['cls', { shape: [5] }],
      ['queue_image', { shape: [9] }],
      ['logit_scale', { shape: [] }],
    ],
    clipRules,
  );
  t.same(plan.get('visual_projection.weight'), {
    source: 'visual.proj',
    part: 0,
    parts: 1,
    transpose: true,
    shape: [512, 768],
  });
  t.same(plan.get('vision_model.encoder.layers.11.self_attn.k_proj.weight'), {
    source: 'visual.transformer.resblocks.11.attn.in_proj_weight',
    part: 1,
    parts: 3,
    transpose: false,
    shape: [768, 768],
  });
  t.same(plan.get('vision_model.encoder.layers.11.self_attn.v_proj.bias')?.shape, [768]);
  t.same(plan.get('cls')?.shape, [1, 1, 5]);
  t.same(
    [...plan.keys()].filter((name) => name.startsWith('queue')),
    [],
  );
  t.ok(plan.has('logit_scale') && plan.has('vision_model.ln_post.bias'));
  t.throws(() => mapKeys('m', [['visual.transformer.resblocks.0.attn.in_proj_bias', { shape: [7] }]], clipRules), {
    code: 'E_WEIGHTS',
    message: /3 equal parts/,
  });
  t.throws(() => mapKeys('m', [['visual.proj', { shape: [7] }]], clipRules), {
    code: 'E_WEIGHTS',
    message: /two dimensions/,
  });
  t.throws(
    () =>
      mapKeys(
        'm',
        [
          ['visual.a', { shape: [7] }],
          ['vision_model.a', { shape: [7] }],
        ],
        clipRules,
      ),
    { code: 'E_WEIGHTS', message: /both stand for/ },
  );

  const wanted = new Map([
    ['a', [2, 3]],
    ['b', [1]],
    ['c', [4]],
    ['scale', []],
  ]);
  const report = coverage(
    wanted,
    new Map([
      ['a', { shape: [3, 2] }],
      ['c', { shape: [4] }],
      ['x', { shape: [] }],
      ['t.position_ids', { shape: [77] }],
    ]),
    { ignore: ['**.position_ids'], optional: ['scale'] },
  );
  t.same(report, { missing: ['b'], unexpected: ['x'], wrongShape: [{ name: 'a', expected: [2, 3], found: [3, 2] }] });
  t.throws(() => assertCoverage('m', report), {
    code: 'E_WEIGHTS',
    message: /1 missing: b; 1 unexpected: x; 1 of wrong shape: a is \[3, 2\], must be \[2, 3\]/,
  });
  assertCoverage('m', { missing: [], unexpected: [], wrongShape: [] });
});

t.test('npy', async (t) => {
  const dir = await folder(t);
  const path = join(dir, 'a.npy');
  const arrays: NpyArray[] = [
    Float32Array.of(1, NaN, -0),
    Float64Array.of(1e300, 2, 3),
    Int32Array.of(-1, 2, 3),
    Uint8Array.of(1, 2, 255),
    Uint16Array.of(1, 2, 65535),
    Int16Array.of(-5, 1, 2),
  ];
  for (const array of arrays) {
    await writeNpy(path, array, [3, 1]);
    const { data: values, shape } = await readNpy(path);
    t.same(values, array);
    t.same(shape, [3, 1]);
  }
  t.same(parseNpy(encodeNpy(Float32Array.of(5), [])).shape, []);
  t.same(parseNpy(encodeNpy(new Float32Array(), [0, 4])).shape, [0, 4]);
  const raw = (header: string, bytes: Uint8Array = new Uint8Array(), version = 1): Uint8Array => {
    const length = Buffer.alloc(version === 1 ? 2 : 4);
    if (version === 1) length.writeUInt16LE(header.length);
    else length.writeUInt32LE(header.length);
    return Buffer.concat([
      Uint8Array.of(0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, version, 0),
      length,
      Buffer.from(header),
      bytes,
    ]);
  };
  t.same(
    parseNpy(raw("{'descr': '|u1', 'fortran_order': True, 'shape': (2, 3), }\n", Uint8Array.of(0, 3, 1, 4, 2, 5))).data,
    Uint8Array.of(0, 1, 2, 3, 4, 5),
    'Fortran order',
  );
  t.same(
    parseNpy(
      raw(
        "{'shape': (1,), 'descr': '<i8', 'fortran_order': False}",
        Uint8Array.of(254, 255, 255, 255, 255, 255, 255, 255),
        2,
      ),
    ).data,
    Int32Array.of(-2),
    'version 2, 64 bits',
  );
  for (const [bytes, pattern] of [
    [new Uint8Array(20), /no .npy file/],
    [raw('{}'), /not \{ descr/],
    [raw("{'descr': '<f4', 'fortran_order': False, 'shape': (3,)}"), /takes 12 bytes, but 0/],
    [raw("{'descr': '<c8', 'fortran_order': False, 'shape': (0,)}"), /type "<c8"/],
    [raw("{'descr': '|O', 'fortran_order': False, 'shape': (0,)}"), /type "\|O"/],
    [raw("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999, 99999999999)}"), /takes/],
    [raw("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}"), /not \{/],
    [raw("{'descr': '<f4', 'descr': '<f4', 'shape': (0,)}"), /not \{/],
    [Uint8Array.of(0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 9, 0, 0, 0), /version 9/],
    [
      raw("{'descr': '<i8', 'fortran_order': False, 'shape': (1,)}", Uint8Array.of(0, 0, 0, 0, 1, 0, 0, 0)),
      /32-bit range/,
    ],
  ] as [Uint8Array, RegExp][])
    t.throws(() => parseNpy(bytes, 'x.npy'), { code: 'E_WEIGHTS', message: pattern });
  const valid = encodeNpy(new Float32Array(6), [2, 3]);
  fc.assert(
    fc.property(fc.nat(valid.length - 1), fc.nat(255), (at, value) => {
      const damaged = Uint8Array.from(valid);
      damaged[at] = value;
      try {
        return parseNpy(damaged).data.length <= 64;
      } catch (error) {
        return error instanceof WordmaskError && error.code === 'E_WEIGHTS';
      }
    }),
    { numRuns: 500 },
  );
  if (data) {
    const real = await readNpy(join(data, 'preprocess/franz-kafka-clip224.npy'));
    t.same(real.shape, [1, 3, 224, 224]);
    const half = await readNpy(join(data, 'text-embeddings/coco_clip_a+cname.npy'));
    t.equal(half.shape[0], 80);
  }
});

t.test('PyTorch files', async (t) => {
  const dir = await folder(t);
  const old = join(dir, 'pytorch_model.bin');
  await writeFile(old, Uint8Array.of(0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8));
  await t.rejects(openWeights(old), { code: 'E_PICKLE_FORBIDDEN', message: /old form.*safetensors/ });
  const script = join(dir, 'ViT-B-32.pt');
  await writeFile(script, Buffer.from('PK\x03\x04....ViT-B-32/code/__torch__.py....ViT-B-32/constants.pkl', 'latin1'));
  await t.rejects(openWeights(script), { code: 'E_PICKLE_FORBIDDEN', message: /TorchScript/ });
  await t.rejects(openWeights(join(dir, 'none.pt')), { code: 'E_MODEL_NOT_FOUND' });
  const renamed = join(dir, 'weights.bin');
  await writeSafetensors(renamed, [['a', { shape: [1], data: Float32Array.of(1) }]]);
  await (await openWeights(renamed)).close();
});

t.test('finite values', async (t) => {
  const good = Tensor.from(Float32Array.of(1, 2, 3), [3]);
  await checkFinite('m', [
    ['good', good],
    ['ids', Tensor.from(Int32Array.of(1), [1])],
  ]);
  for (const [value, name] of [
    [NaN, 'NaN'],
    [Infinity, 'Infinity'],
    [-Infinity, '-Infinity'],
  ] as const) {
    const bad = Tensor.from(Float32Array.of(1, 2, 3, 4, value, 6), [2, 3]);
    await t.rejects(
      checkFinite('m', [
        ['good', good],
        ['w.x', bad],
      ]),
      { code: 'E_WEIGHTS_VALUE', message: new RegExp(`"w.x" holds ${name} at \\[1, 1\\]`) },
    );
  }
});
