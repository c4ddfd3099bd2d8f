/** Memory shared with other add-ons: DLPack in and out, tensors as operands of `wordmask/native`, the example add-on. */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import t from 'tap';
import { attention, denseCrf, includeDir, pamr, Tensor } from 'wordmask/native';
import { maxError } from '../helpers/data.js';
import { root } from '../helpers/fixture.js';
import { deviceUnderTest, noDevice } from '../helpers/simt.js';

const numbers = (count: number) => Float32Array.from({ length: count }, (_, i) => Math.sin(i));

t.test('a tensor goes out and comes back without a copy', async (t) => {
  for (const dtype of ['f32', 'f64', 'i32', 'u8', 'bool'] as const) {
    const tensor = Tensor.from([0, 1, 1, 0, 1, 0], [2, 3], dtype);
    const back = Tensor.fromDLPack(await tensor.toDLPack());
    t.same([back.dtype, back.shape, back.device], [dtype, [2, 3], 'cpu']);
    t.same(await back.data(), await tensor.data());
    tensor.dispose();
    t.same([...(await back.data())], [0, 1, 1, 0, 1, 0], 'it outlives the one it came from');
    back.dispose();
  }
  const bits = Tensor.from(new Uint16Array([0x3f80, 0x4000]), [2], 'bf16');
  const same = Tensor.fromDLPack(await bits.toDLPack());
  t.same([same.dtype, [...(await same.data())]], ['bf16', [0x3f80, 0x4000]]);
});

t.test('strides, offsets, empty and scalar tensors', async (t) => {
  const tensor = Tensor.from(numbers(24), [2, 3, 4]);
  const window = tensor.permute(2, 0, 1).slice(0, 1, 3);
  const back = Tensor.fromDLPack(await window.toDLPack());
  t.same([back.shape, back.strides], [window.shape, window.strides]);
  t.same(await back.data(), await window.data());
  const wide = Tensor.from([1, 2], [2, 1]).expand(2, 5);
  t.same(await Tensor.fromDLPack(await wide.toDLPack()).data(), await wide.data());
  const empty = Tensor.fromDLPack(await Tensor.from([], [0, 3]).toDLPack());
  t.same([empty.shape, (await empty.data()).length], [[0, 3], 0]);
  t.equal(await Tensor.fromDLPack(await Tensor.scalar(7).toDLPack()).item(), 7);
});

t.test('what is no tensor, or was taken, is refused', async (t) => {
  for (const wrong of [undefined, null, 5, {}, Tensor.scalar(1), Tensor.scalar(1).handle()])
    t.throws(() => Tensor.fromDLPack(wrong), { code: 'E_USAGE' });
  const external = await Tensor.scalar(1).toDLPack();
  Tensor.fromDLPack(external);
  t.throws(() => Tensor.fromDLPack(external), { code: 'E_DISPOSED' });
  const gone = Tensor.scalar(1);
  gone.dispose();
  t.throws(() => gone.toDLPack(), { code: 'E_DISPOSED' });
  t.throws(() => gone.handle(), { code: 'E_DISPOSED' });
  t.equal(typeof Tensor.scalar(1).handle(), 'object');
});

t.test('tensors as operands give the values of arrays', async (t) => {
  const array = (shape: number[]) => ({ data: numbers(shape.reduce((n, d) => n * d, 1)), shape });
  const tensor = ({ data, shape }: { data: Float32Array; shape: number[] }) => Tensor.from(data, shape);
  const q = array([1, 2, 5, 8]);
  const mixed = await attention(tensor(q), q, tensor(q), { scale: 0.5 });
  t.ok(mixed instanceof Tensor);
  t.same(await mixed.data(), (await attention(q, q, q, { scale: 0.5 })).data);
  await t.rejects(attention(tensor(array([5, 8])), q, q), { code: 'E_USAGE' });

  const unary = array([3, 6, 7]);
  const rgb = { data: Uint8Array.from({ length: 126 }, (_, i) => (i * 37) % 256), shape: [6, 7, 3] };
  const terms = { bilateral: { sxy: 4, srgb: 20, compat: 5 }, iterations: 2 };
  const picture = Tensor.fromDLPack(await Tensor.from(rgb.data, rgb.shape).toDLPack());
  const marginals = await denseCrf(picture, tensor(unary), terms);
  t.same(await marginals.data(), (await denseCrf(rgb, unary, terms)).data);
  t.same((await denseCrf(picture, unary, terms)).data, await marginals.data(), 'an array where the unary is one');

  const guide = array([3, 6, 7]);
  const refined = await pamr(guide, tensor(unary), { dilations: [1], iterations: 2 });
  t.same(await refined.data(), (await pamr(guide, unary, { dilations: [1], iterations: 2 })).data);
});

t.test('on a device, where they lie', { skip: noDevice(), timeout: 300_000 }, async (t) => {
  const host = Tensor.from(numbers(48), [2, 3, 4, 2]);
  const there = host.to(deviceUnderTest);
  const window = there.permute(1, 0, 3, 2);
  const back = Tensor.fromDLPack(await window.toDLPack());
  t.same([back.device, back.shape, back.strides], [deviceUnderTest, window.shape, window.strides]);
  there.dispose();
  t.same(await back.data(), await host.permute(1, 0, 3, 2).data());

  const q = Tensor.fromDLPack(await host.to(deviceUnderTest).toDLPack());
  const mixed = await attention(q, q, q, { scale: 0.5 });
  t.equal(mixed.device, deviceUnderTest);
  const wanted = await attention(host, host, host, { scale: 0.5 });
  t.ok(maxError((await mixed.data()) as Float32Array, (await wanted.data()) as Float32Array) < 1e-5);
  await t.rejects(attention(q, host, q), { code: 'E_OPTION' }, 'operands on two devices');

  const unary = Tensor.from(numbers(126), [3, 6, 7]);
  const rgb = { data: Uint8Array.from({ length: 126 }, (_, i) => (i * 37) % 256), shape: [6, 7, 3] };
  const terms = { bilateral: { sxy: 4, srgb: 20, compat: 5 }, iterations: 2 };
  const marginals = await denseCrf(
    Tensor.fromDLPack(await Tensor.from(rgb.data, rgb.shape).to(deviceUnderTest).toDLPack()),
    Tensor.fromDLPack(await unary.to(deviceUnderTest).toDLPack()),
    terms,
  );
  t.equal(marginals.device, deviceUnderTest);
  const crf = await denseCrf(rgb, unary, terms);
  t.ok(maxError((await marginals.data()) as Float32Array, (await crf.data()) as Float32Array) < 1e-3);
});

const require = createRequire(import.meta.url);
const compiler =
  process.platform !== 'win32' &&
  [process.env.CXX, 'c++', 'g++', 'clang++'].find((name) => name && spawnSync(name, ['--version']).status === 0);
const headers = [
  includeDir,
  require('node-addon-api').include_dir.replaceAll('"', ''),
  require('node-api-headers').include_dir,
] as string[];
const cannotBuild =
  !(compiler && headers.every((folder) => existsSync(folder))) && 'needs a C++ compiler and the headers of Node-API';

t.test('the example add-on is built and works on its own frame', { skip: cannotBuild }, async (t) => {
  const example = join(root, 'examples', 'native-consumer');
  const binary = join(t.testdir(), 'consumer.node');
  const flags = [
    '-std=c++17',
    '-O1',
    '-fPIC',
    '-shared',
    ...(process.platform === 'darwin' ? ['-undefined', 'dynamic_lookup'] : []),
  ];
  const defines = ['NAPI_VERSION=9', 'NODE_ADDON_API_CPP_EXCEPTIONS', 'NODE_ADDON_API_REQUIRE_BASIC_FINALIZERS'];
  const built = spawnSync(
    compiler as string,
    [
      ...flags,
      ...defines.map((d) => `-D${d}`),
      ...headers.map((h) => `-I${h}`),
      join(example, 'consumer.cpp'),
      '-o',
      binary,
    ],
    { encoding: 'utf8' },
  );
  t.equal(built.status, 0, built.stderr);
  const ran = spawnSync(process.execPath, [join(example, 'main.mjs'), binary], {
    encoding: 'utf8',
    cwd: dirname(binary),
  });
  t.equal(ran.status, 0, ran.stderr);
  t.match(ran.stdout, /^brightness 172\.5$/m);
  t.match(ran.stdout, /^outline of 192 pixels$/m);
  t.match(ran.stdout, /^square 192 of 768 pixels$/m);
  t.match(ran.stdout, /^frame returned$/m);
  const consumer = require(binary) as { connect(table: unknown): void };
  t.throws(() => consumer.connect({}), TypeError, 'another object than the table');
});
