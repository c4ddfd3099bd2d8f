/** PyTorch checkpoints read as data: what they hold comes out right, what they ask for is never done. */
import { copyFile, cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import t from 'tap';
import { writeZip } from '#lib/formats/zip.js';
import { open } from '#lib/pipelines/open.js';
import { loadBackbone } from '#lib/registry/backbones.js';
import { keyMap } from '#lib/registry/key-maps.js';
import {
  convertTorch,
  type LocatedTensor,
  openSafetensors,
  openTorch,
  openWeights,
  type TorchFile,
} from '#lib/weights/index.js';
import { data, needsData } from '../helpers/data.js';
import { miniFolder, miniScene } from '../helpers/fixture.js';
import { archive, checkpoint, dictOps, op, type TestTensor, tensorOps, u32 } from '../helpers/torch-checkpoint.js';

const folder = await mkdtemp(join(tmpdir(), 'wordmask-torch-'));
t.teardown(() => rm(folder, { recursive: true, force: true }));

let files = 0;
async function saved(bytes: Uint8Array, extension = 'pth'): Promise<string> {
  const path = join(folder, `${++files}.${extension}`);
  await writeFile(path, bytes);
  return path;
}

async function opened(bytes: Uint8Array): Promise<TorchFile> {
  return (await openTorch(await saved(bytes))) as TorchFile;
}

const floats = (...values: number[]): TestTensor => ({
  dtype: 'F32',
  shape: [values.length],
  bytes: new Uint8Array(Float32Array.from(values).buffer),
});

t.test('state dictionaries', async (t) => {
  const tensors = new Map([
    ['a.weight', { ...floats(1, 2, 3, 4, 5, 6), shape: [2, 3] }],
    ['a.count', { dtype: 'I64', shape: [], bytes: new Uint8Array(BigInt64Array.of(9n).buffer) }],
    ['ü', floats()],
  ]);
  for (const key of [undefined, 'state_dict', 'model']) {
    const set = await openWeights(await saved(checkpoint(tensors, key)));
    t.same([...set.tensors.keys()], ['a.weight', 'a.count', 'ü'], String(key));
    const { file } = set.tensors.get('a.weight') as LocatedTensor;
    t.same(await file.readArray('a.weight'), { data: Float32Array.of(1, 2, 3, 4, 5, 6), dtype: 'f32', shape: [2, 3] });
    t.same(await file.readArray('a.count'), { data: Int32Array.of(9), dtype: 'i32', shape: [] });
    t.equal(file.inPlace('a.weight'), true);
    await set.close();
  }
});

t.test('views of one storage', async (t) => {
  const bytes = new Uint8Array(Float32Array.from({ length: 24 }, (_, k) => k).buffer);
  const view = (shape: number[], offset: number, stride: number[]): string =>
    tensorOps('0', { dtype: 'F32', shape }, { offset, stride, count: 24 });
  const root = dictOps([
    ['rows', view([2, 4], 8, [4, 1])],
    ['turned', view([4, 6], 0, [1, 4])],
    ['every', view([3], 1, [5])],
    ['spread', view([2, 3], 7, [0, 0])],
    ['none', view([0, 5], 24, [5, 1])],
  ]);
  const file = await opened(archive(`${op.proto}${root}${op.stop}`, { 0: bytes }));
  const values = async (name: string): Promise<number[]> => [...((await file.readArray(name)).data as Float32Array)];
  t.same(await values('rows'), [8, 9, 10, 11, 12, 13, 14, 15]);
  t.same((await values('turned')).slice(0, 7), [0, 4, 8, 12, 16, 20, 1]);
  t.same(await values('every'), [1, 6, 11]);
  t.same(await values('spread'), [7, 7, 7, 7, 7, 7]);
  t.same(await values('none'), []);
  t.same([file.inPlace('rows'), file.inPlace('turned'), file.inPlace('every')], [true, false, false]);
  const out = join(folder, 'views.safetensors');
  await convertTorch(file, out);
  await file.close();
  const written = await openSafetensors(out);
  t.same([...((await written.readArray('every')).data as Float32Array)], [1, 6, 11]);
  t.equal(written.metadata.get('format'), 'pt');
  await written.close();
});

const call = (module: string, name: string, args: string): string => op.global(module, name) + args + op.reduce;
const one = (value: string): string => `${value}\x85`;
const pickled = (body: string): Uint8Array => archive(`${op.proto}${body}${op.stop}`, { 0: new Uint8Array(8) });
const bare = tensorOps('0', { dtype: 'F32', shape: [2] });
const at = (shape: number[], view: object): Uint8Array => pickled(tensorOps('0', { dtype: 'F32', shape }, view));

/** What a forger may try, and the opcode or name that the refusal mentions. */
const hostile: readonly (readonly [string, Uint8Array, string, RegExp])[] = [
  ['a call of the shell', pickled(call('posix', 'system', one(op.text('id')))), 'E_PICKLE_FORBIDDEN', /posix\.system/],
  ['eval', pickled(call('builtins', 'eval', one(op.text('1')))), 'E_PICKLE_FORBIDDEN', /builtins\.eval/],
  ['a process', pickled(call('subprocess', 'Popen', one(op.text('id')))), 'E_PICKLE_FORBIDDEN', /subprocess\.Popen/],
  ['a name of Python 2', pickled(call('__builtin__', 'apply', op.unit)), 'E_PICKLE_FORBIDDEN', /__builtin__\.apply/],
  ['an import of torch', pickled(op.global('torch', 'load')), 'E_PICKLE_FORBIDDEN', /torch\.load/],
  [
    'a hidden loader',
    pickled(call('torch.storage', '_load_from_bytes', one(op.text('x')))),
    'E_PICKLE_FORBIDDEN',
    /_load_from_bytes/,
  ],
  [
    'an attribute of an allowed name',
    pickled(op.global('collections', 'OrderedDict.__init__')),
    'E_PICKLE_FORBIDDEN',
    /OrderedDict\.__init__/,
  ],
  [
    'an allowed name that is no function',
    pickled(call('torch', 'FloatStorage', op.unit)),
    'E_PICKLE_FORBIDDEN',
    /torch\.FloatStorage.*REDUCE|REDUCE.*torch\.FloatStorage/,
  ],
  ['a name from the stack', pickled(`${op.text('os')}${op.text('system')}\x93`), 'E_PICKLE_FORBIDDEN', /os\.system/],
  ['a name made of a value', pickled(`${op.int(1)}${op.text('x')}\x93`), 'E_PICKLE_FORBIDDEN', /STACK_GLOBAL/],
  [
    'a name built at run time',
    pickled(`${call('builtins', 'getattr', op.unit)}`),
    'E_PICKLE_FORBIDDEN',
    /builtins\.getattr/,
  ],
  ['a call of text', pickled(`${op.text('x')}${op.unit}R`), 'E_PICKLE_FORBIDDEN', /REDUCE/],
  ['an instance', pickled('(ios\nsystem\n'), 'E_PICKLE_FORBIDDEN', /INST/],
  ['an object', pickled('(o'), 'E_PICKLE_FORBIDDEN', /OBJ/],
  ['an extension', pickled('\x82\x01'), 'E_PICKLE_FORBIDDEN', /EXT1/],
  ['a class with keywords', pickled(`${op.global('argparse', 'Namespace')})}\x92`), 'E_PICKLE_FORBIDDEN', /NEWOBJ_EX/],
  ['a persistent name', pickled('Pstorage\n'), 'E_PICKLE_FORBIDDEN', /PERSID/],
  ['a buffer from outside', pickled('\x97'), 'E_PICKLE_FORBIDDEN', /NEXT_BUFFER/],
  ['the state of a tensor', pickled(`${bare}}b`), 'E_PICKLE_FORBIDDEN', /BUILD/],
  ['an opcode that does not exist', pickled('\xff'), 'E_PICKLE_FORBIDDEN', /0xff/],
  ['memory of everything', pickled(`]${'2'.repeat(1000)}`), 'E_PICKLE_FORBIDDEN', /DUP/],
  ['a memo bomb', pickled(memoBomb(40)), 'E_WEIGHTS', /refer to each other|levels/],
  ['values without end', pickled('N'.repeat(1 << 19)), 'E_WEIGHTS', /NONE.*262144 values/],
  ['groups in groups', pickled('('.repeat(100_000)), 'E_WEIGHTS', /MARK.*open groups/],
  ['tuples in tuples', pickled(`N${'\x85'.repeat(100_000)}`), 'E_WEIGHTS', /TUPLE1.*levels/],
  [
    'a list in itself',
    pickled(`${op.dict}${op.text('a')}]q\x00h\x00as`),
    'E_WEIGHTS',
    /refer to each other|no tensor|levels/,
  ],
  ['a text of 4 GiB', pickled(`X${u32(-1)}abc`), 'E_WEIGHTS', /BINUNICODE/],
  ['a text of 2^63 bytes', pickled(`\x8d${'\xff'.repeat(7)}\x7fabc`), 'E_WEIGHTS', /BINUNICODE8/],
  ['a value never remembered', pickled('h\x05'), 'E_WEIGHTS', /BINGET/],
  ['an empty hand', pickled('R'), 'E_WEIGHTS', /REDUCE/],
  ['no end', archive(`${op.proto}}`), 'E_WEIGHTS', /ends/],
  ['a tensor beyond its storage', at([3], { count: 2 }), 'E_WEIGHTS', /reaches/],
  ['a view beyond its storage', at([2], { offset: 1, count: 2 }), 'E_WEIGHTS', /reaches/],
  ['a stride beyond its storage', at([2], { stride: [7], count: 2 }), 'E_WEIGHTS', /reaches/],
  ['a storage of another size', at([2], { count: 3 }), 'E_WEIGHTS', /said to have 12/],
  ['a tensor of absurd size', at([1 << 30, 1 << 30], { stride: [0, 0], count: 2 }), 'E_WEIGHTS', /times as large/],
  ['a shape below zero', at([-2], { count: 2 }), 'E_PICKLE_FORBIDDEN', /shape/],
  ['a storage that is not there', pickled(tensorOps('9', { dtype: 'F32', shape: [2] })), 'E_WEIGHTS', /data\/9/],
  [
    'a storage elsewhere',
    pickled(tensorOps('../../etc/passwd', { dtype: 'F32', shape: [2] })),
    'E_WEIGHTS',
    /plain name/,
  ],
  ['no tensor at all', pickled(op.dict), 'E_WEIGHTS', /no tensor/],
];

/** Each list holds the one before it twice: small in the file, endless to walk. */
function memoBomb(levels: number): string {
  let body = `${bare}q\x00`;
  // The last value again, a pair of both, remembered.
  for (let k = 1; k <= levels; k++) body += `h${String.fromCharCode(k - 1)}\x86q${String.fromCharCode(k)}`;
  return body;
}

t.test('hostile pickles', async (t) => {
  const before = await readdir(folder);
  for (const [what, bytes, code, message] of hostile) {
    const path = await saved(bytes);
    await t.rejects(openTorch(path), { name: 'WordmaskError', code, message }, what);
    await rm(path);
  }
  t.same(await readdir(folder), before, 'nothing was written');
});

const entry = (name: string, bytes = new Uint8Array(8)) => ({ name, bytes });
const pkl = entry('a/data.pkl', Buffer.from(`${op.proto}${bare}${op.stop}`, 'latin1'));

/** An archive with bytes of its directory or its headers changed. */
function changed(find: string, offset: number, value: number): Uint8Array {
  const bytes = Buffer.from(writeZip([pkl, entry('a/data/0')]));
  const at = bytes.lastIndexOf(find, undefined, 'latin1');
  bytes.writeUInt32LE(value, at + offset);
  return bytes;
}

t.test('forged archives', async (t) => {
  const cases: [string, Uint8Array, RegExp][] = [
    ['a path upwards', writeZip([pkl, entry('a/../../x')]), /no plain path/],
    ['an absolute path', writeZip([pkl, entry('/etc/x')]), /no plain path/],
    ['a path of Windows', writeZip([pkl, entry('a\\..\\x')]), /no plain path/],
    ['an entry twice', writeZip([pkl, entry('a/data/0'), entry('a/data/0')]), /twice/],
    ['two pickles', writeZip([pkl, { ...pkl, name: 'b/data.pkl' }]), /2 entries/],
    ['an entry outside', writeZip([pkl, entry('b/data/0')]), /outside/],
    ['no pickle', writeZip([entry('a/x')]), /0 entries/],
    ['a size too large', changed('PK\x01\x02', 24, 1 << 30), /stored in 8 bytes/],
    ['both sizes too large', changed('PK\x01\x02', 20, 1 << 20), /reaches beyond|stored in/],
    ['a header elsewhere', changed('PK\x01\x02', 42, 0), /overlap/],
    ['a header of another size', changed('PK\x03\x04', 18, 7), /directory says/],
    ['a wrong checksum', changed('PK\x03\x04\x14', 0, 0), /./],
    ['an archive cut short', writeZip([pkl, entry('a/data/0')]).subarray(0, -30), /no directory/],
    ['bytes of no kind', Buffer.concat([Buffer.from('PK\x03\x04'), Buffer.alloc(500)]), /no directory/],
  ];
  for (const [what, bytes, message] of cases)
    await t.rejects(openTorch(await saved(bytes)), { code: 'E_WEIGHTS', message }, what);
  const whole = Buffer.from(writeZip([pkl, entry('a/data/0', Buffer.from(Float32Array.of(1, 2).buffer))]));
  whole.writeUInt8(0xff, whole.indexOf('a/data/0') + 8);
  const file = await opened(whole);
  await t.rejects(file.readArray('tensor'), { code: 'E_WEIGHTS', message: /checksum/ }, 'a flipped byte');
  await file.close();
});

t.test('forms that need code', async (t) => {
  const scripted = writeZip([pkl, entry('a/code/__torch__.py'), entry('a/constants.pkl')]);
  await t.rejects(openTorch(await saved(scripted, 'pt')), { code: 'E_PICKLE_FORBIDDEN', message: /TorchScript/ });
  const clip = join(folder, 'ViT-B-16.pt');
  await writeFile(clip, scripted);
  await t.rejects(openTorch(clip), { message: /openai\/clip-vit-base-patch16/ });
  await t.rejects(openTorch(await saved(Buffer.from('\x80\x02}q\x00.', 'latin1'))), {
    code: 'E_PICKLE_FORBIDDEN',
    message: /old form/,
  });
});

t.test('a model whose weights are a checkpoint', async (t) => {
  const source = miniFolder();
  const copy = join(folder, 'mini');
  await cp(source, copy, { recursive: true });
  const weights = await openSafetensors(join(source, 'model.safetensors'));
  const tensors = new Map<string, TestTensor>();
  for (const [name, { dtype, shape }] of weights.tensors)
    tensors.set(name, { dtype, shape, bytes: await weights.read(name) });
  await weights.close();
  for (const name of await readdir(copy)) if (name.endsWith('.safetensors')) await rm(join(copy, name));
  await writeFile(join(copy, 'pytorch_model.bin'), checkpoint(tensors));
  const labels: Uint8Array[] = [];
  for (const path of [source, copy]) {
    const model = await open(`clip:${path}`);
    const result = await model.segment(miniScene, ['sky', 'grass'], { refine: 'none' });
    labels.push(Uint8Array.from(result.labels));
    await model.dispose();
  }
  t.same(labels[1], labels[0]);
  await copyFile(join(copy, 'pytorch_model.bin'), join(copy, 'second.pth'));
  await t.rejects(open(`clip:${copy}`), { code: 'E_MODEL_FORMAT', message: /several checkpoints/ });
});

t.test('names of original checkpoints', async (t) => {
  const proj = { ...floats(1, 2, 3, 4, 5, 6), shape: [2, 3] };
  const inProj = { ...floats(1, 2, 3, 4, 5, 6), shape: [6] };
  const file = await opened(
    checkpoint(
      new Map([
        ['visual.proj', proj],
        ['transformer.resblocks.0.attn.in_proj_bias', inProj],
      ]),
    ),
  );
  const out = join(folder, 'mapped.safetensors');
  await convertTorch(file, out, { map: keyMap('clip') });
  await file.close();
  const written = await openSafetensors(out);
  const values = async (name: string): Promise<number[]> => [...((await written.readArray(name)).data as Float32Array)];
  t.same(await values('visual_projection.weight'), [1, 4, 2, 5, 3, 6]);
  t.same(await values('text_model.encoder.layers.0.self_attn.k_proj.bias'), [3, 4]);
  await written.close();
  t.throws(() => keyMap('clib'), { code: 'E_OPTION', message: /did you mean 'clip'/ });
});

t.test('files that PyTorch wrote', needsData, async (t) => {
  const path = (name: string): string => data('pytorch-files', name);
  const tensors = (await openTorch(path('tensors.zip.pt'))) as TorchFile;
  t.same(
    [...tensors.stored.values()].map(({ dtype }) => dtype),
    ['F64', 'F32', 'F16', 'I64', 'I32', 'I16', 'I8', 'U8', 'BOOL', 'BF16', 'C128', 'C64'],
  );
  for (const [name, values] of [
    ['0', [-1, 1]],
    ['3', [-1, 1]],
    ['5', [-1, 1]],
    ['6', [-1, 1]],
    ['8', [0, 1, 0, 1]],
  ] as const)
    t.same([...(await tensors.readArray(name)).data], values, name);
  await tensors.close();
  const view = (await openTorch(path('noncontiguous_tensor.zip.pt'))) as TorchFile;
  t.same([...(await view.readArray('tensor')).data], [1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 5, 6]);
  t.same(view.stored.get('tensor')?.shape, [2, 2, 3]);
  await view.close();
  for (const name of ['storage_view.legacy.pt', 'tensors.legacy.pt'])
    await t.rejects(openTorch(path(name)), { code: 'E_PICKLE_FORBIDDEN', message: /safetensors/ }, name);
  await t.rejects(openTorch(path('ordered_dict.zip.pt')), { code: 'E_WEIGHTS', message: /no tensor/ });
  t.ok((await readFile(path('state_dict_full.zip.pt'))).length > 0);
});

t.test('original checkpoints of matching models', needsData, async (t) => {
  const cases: readonly (readonly [map: string, weights: string, config: string | undefined])[] = [
    ['albef', data('systems/albef/tiny/model.safetensors'), data('systems/albef/tiny/note.json')],
    ['mplug', data('systems/mplug/tiny/model.safetensors'), data('systems/mplug/tiny/note.json')],
    ['blip', data('systems/pnp-ovss/blip-12x12-published-code/model.safetensors'), undefined],
    ['bridgetower', data('reference-models/bridgetower-tiny/model.safetensors'), undefined],
  ];
  for (const [map, source, note] of cases) {
    const own = join(folder, map);
    await mkdir(own);
    const config = note
      ? JSON.stringify(JSON.parse(await readFile(note, 'utf8')).configuration)
      : await readFile(join(dirname(source), 'config.json'));
    await writeFile(join(own, 'config.json'), config);
    const tensors = new Map<string, TestTensor>();
    const weights = await openSafetensors(source);
    for (const [name, { dtype, shape }] of weights.tensors)
      tensors.set(name, { dtype, shape, bytes: await weights.read(name) });
    await weights.close();
    const names = [...tensors.keys()];
    const extra = names.find((name) => /^visual_encoder\b/.test(name));
    // Momentum copies of the training lie beside the weights.
    if (extra) tensors.set(extra.replace('visual_encoder', 'visual_encoder_m'), tensors.get(extra) as TestTensor);
    const file = await opened(checkpoint(tensors, map === 'bridgetower' ? 'state_dict' : 'model'));
    const { dropped } = await convertTorch(file, join(own, 'model.safetensors'), { map: keyMap(map) });
    await file.close();
    t.equal(
      dropped.filter((name) => name.includes('_m.')).length,
      extra ? 1 : 0,
      `${map}: momentum copies are left out`,
    );
    const backbone = await loadBackbone(own, { device: 'cpu' });
    t.ok(backbone.parameters.size > 20, map);
    backbone.dispose();
  }
});
