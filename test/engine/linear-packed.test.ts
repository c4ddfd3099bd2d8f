/** linearPacked against the f64 reference of linear; independence of rows; refusal of foreign buffers. */
import t from 'tap';
import {
  activations,
  type DType,
  linear,
  linearPacked,
  packLinear,
  type RefArray,
  scope,
  setThreads,
  Tensor,
} from '#lib/engine/index.js';
import { linearReference } from '#lib/engine/ops/math/activation.js';
import { fromHost, makeInput, relL2 } from '../helpers/samples.js';

interface Case {
  rows: number;
  n: number;
  k: number;
  bf16: boolean;
  x: DType;
  residual?: DType;
  bf16Out?: boolean;
  activation: number;
}

const rounded = (array: RefArray): RefArray => {
  const input = Float32Array.from(array.data);
  const bits = new Uint32Array(input.buffer);
  for (let i = 0; i < bits.length; i++)
    bits[i] = (((bits[i] as number) + 0x7fff + (((bits[i] as number) >>> 16) & 1)) >>> 16) << 16;
  return { shape: array.shape, data: Float64Array.from(input) };
};

function tensors(c: Case) {
  const name = JSON.stringify(c);
  const make = (part: string, shape: number[], dtype: DType) => {
    const input = makeInput(
      `${name}/${part}`,
      { shape, dtype, fill: part === 'weight' ? { uniform: [-0.2, 0.2] } : 'normal' },
      'f32',
    );
    return { ref: input.ref, tensor: Tensor.from(input.host, shape, dtype) };
  };
  return {
    x: make('x', [c.rows, c.k], c.x),
    weight: make('weight', [c.n, c.k], 'f32'),
    bias: make('bias', [c.n], 'f32'),
    residual: c.residual && make('residual', [c.rows, c.n], c.residual),
  };
}

const cases: Case[] = [1, 5, 8, 97, 203].flatMap((rows, i) =>
  [
    [1, 33],
    [49, 64],
    [150, 7],
    [96, 801],
  ].flatMap(([n, k], j) =>
    [false, true].map((bf16) => ({
      rows,
      n: n as number,
      k: k as number,
      bf16,
      x: (i + j) % 2 ? ('bf16' as const) : ('f32' as const),
      residual: ([undefined, 'f32', 'bf16'] as const)[(i + j) % 3],
      bf16Out: (i * j) % 2 === 1,
      activation: (i + j) % activations.length,
    })),
  ),
);

t.test('values', async (t) => {
  for (const c of cases) {
    await scope(async () => {
      const { x, weight, bias, residual } = tensors(c);
      const packed = packLinear(weight.tensor, { bf16: c.bf16 });
      const options = {
        bias: bias.tensor,
        residual: residual?.tensor,
        activation: activations[c.activation],
        scale: 0.5,
        bf16Out: c.bf16Out,
      };
      const y = linearPacked(x.tensor, packed, options);
      const operand = (ref: RefArray) => (c.bf16 ? rounded(ref) : ref);
      const expected = linearReference(operand(x.ref), operand(weight.ref), bias.ref, residual?.ref, c.activation, 0.5);
      const data = await y.data();
      const label = `${c.rows}x${c.n}x${c.k} ${c.bf16 ? 'bf16' : 'f32'} weight, x ${c.x}, residual ${c.residual ?? 'none'}, ${activations[c.activation]}`;
      t.same(y.shape, [c.rows, c.n]);
      t.equal(y.dtype, c.bf16Out ? 'bf16' : 'f32');
      const error = relL2(fromHost(data, y.dtype), expected.data);
      const limit = c.bf16Out ? 4e-3 : 1e-5;
      t.ok(error <= limit, `${label}: relL2 ${error.toExponential(2)}`);
    });
  }
});

t.test('a row does not depend on its batch, nor on packing or threads', async (t) => {
  await scope(async () => {
    const { x, weight, bias } = tensors({ rows: 203, n: 100, k: 800, bf16: false, x: 'f32', activation: 2 });
    const packed = packLinear(weight.tensor);
    const options = { bias: bias.tensor, activation: 'gelu' } as const;
    const all = Buffer.from((await linearPacked(x.tensor, packed, options).data()).buffer);
    const unpacked = Buffer.from((await linear(x.tensor, weight.tensor, options).data()).buffer);
    t.ok(all.equals(unpacked), 'linear gives the same bytes');
    for (const rows of [1, 7, 64, 201]) {
      setThreads((rows % 3) + 1);
      const part = await linearPacked(x.tensor.slice(0, 203 - rows).contiguous(), packed, options).data();
      t.ok(Buffer.from(part.buffer).equals(all.subarray((203 - rows) * 400)), `${rows} rows alone`);
    }
    setThreads(2);
  });
});

t.test('refusals', async (t) => {
  await scope(async () => {
    const x = Tensor.from(new Float32Array(12), [3, 4]);
    const weight = Tensor.from(new Float32Array(20).fill(1), [5, 4]);
    const packed = packLinear(weight);
    t.throws(() => linearPacked(Tensor.from(new Float32Array(9), [3, 3]), packed), { code: 'E_OPTION' }, 'another K');
    t.throws(
      () => linearPacked(x, packed, { bias: Tensor.from(new Float32Array(4), [4]) }),
      { code: 'E_OPTION' },
      'another N in the bias',
    );
    t.throws(
      () => linearPacked(x, packed, { activation: 'swish' as never }),
      { code: 'E_OPTION', message: /swish/ },
      'unknown activation',
    );
    const foreign = { n: 5, k: 4, bytes: Tensor.from(new Uint8Array(832), [832], 'u8') };
    await t.rejects(
      linearPacked(x, foreign).data(),
      { code: 'E_OPTION', message: /pack_linear/ },
      'a buffer of something else',
    );
    await t.rejects(
      linearPacked(x, { ...packed, n: 6 }).data(),
      { code: 'E_OPTION', message: /\[5, 4\]/ },
      'another shape',
    );
    const short = { ...packed, bytes: packed.bytes.slice(0, 0, 128).contiguous() };
    await t.rejects(linearPacked(x, short).data(), { code: 'E_OPTION', message: /bytes/ }, 'a cut buffer');
  });
});
