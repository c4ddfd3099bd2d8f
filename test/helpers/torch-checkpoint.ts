/** PyTorch checkpoints made by hand: the opcodes that torch.save writes, and whatever a forger would. */
import { writeZip } from '#lib/formats/zip.js';

export const op = {
  proto: '\x80\x02',
  stop: '.',
  dict: '}',
  list: ']',
  unit: ')',
  mark: '(',
  tuple: 't',
  setItems: 'u',
  setItem: 's',
  reduce: 'R',
  persistent: 'Q',
  build: 'b',
  global: (module: string, name: string) => `c${module}\n${name}\n`,
  text: (value: string) => `X${u32(Buffer.byteLength(value))}${Buffer.from(value).toString('latin1')}`,
  int: (value: number) => `J${u32(value)}`,
} as const;

export function u32(value: number): string {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value | 0);
  return bytes.toString('latin1');
}

const storageOf: Readonly<Record<string, string>> = { F32: 'FloatStorage', F16: 'HalfStorage', I64: 'LongStorage' };
const widths: Readonly<Record<string, number>> = { F32: 4, F16: 2, I64: 8 };

export interface TestTensor {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

/** torch._utils._rebuild_tensor_v2(storage, offset, shape, stride, False, OrderedDict()). */
export function tensorOps(
  key: string,
  { dtype, shape }: Pick<TestTensor, 'dtype' | 'shape'>,
  view: { offset?: number; stride?: readonly number[]; count?: number } = {},
): string {
  const count = shape.reduce((product, d) => product * d, 1);
  const stride = view.stride ?? shape.map((_, k) => shape.slice(k + 1).reduce((product, d) => product * d, 1));
  const numbers = (list: readonly number[]): string => `${op.mark}${list.map(op.int).join('')}${op.tuple}`;
  return [
    op.global('torch._utils', '_rebuild_tensor_v2'),
    op.mark,
    [op.mark, op.text('storage'), op.global('torch', storageOf[dtype] as string), op.text(key)].join(''),
    [op.text('cpu'), op.int(view.count ?? count), op.tuple, op.persistent].join(''),
    [op.int(view.offset ?? 0), numbers(shape), numbers(stride), '\x89'].join(''),
    [op.global('collections', 'OrderedDict'), op.unit, op.reduce, op.tuple, op.reduce].join(''),
  ].join('');
}

export function dictOps(items: Iterable<readonly [string, string]>): string {
  return `${op.dict}${op.mark}${[...items].map(([key, value]) => op.text(key) + value).join('')}${op.setItems}`;
}

/** The archive of a pickle and its storages. */
export function archive(
  pickle: string,
  storages: Readonly<Record<string, Uint8Array>> = {},
  folder = 'archive',
): Uint8Array {
  return writeZip([
    { name: `${folder}/data.pkl`, bytes: Buffer.from(pickle, 'latin1') },
    { name: `${folder}/byteorder`, bytes: Buffer.from('little') },
    ...Object.entries(storages).map(([key, bytes]) => ({ name: `${folder}/data/${key}`, bytes })),
    { name: `${folder}/version`, bytes: Buffer.from('3\n') },
  ]);
}

/** What torch.save makes of a state dictionary, under `key` beside other things where one is given. */
export function checkpoint(tensors: ReadonlyMap<string, TestTensor>, key?: string): Uint8Array {
  const storages: Record<string, Uint8Array> = {};
  const items = [...tensors].map(([name, tensor], k): [string, string] => {
    storages[String(k)] = tensor.bytes;
    return [name, tensorOps(String(k), tensor, { count: tensor.bytes.byteLength / (widths[tensor.dtype] as number) })];
  });
  const state = dictOps(items);
  const root = key === undefined ? state : dictOps([['epoch', op.int(7)] as const, [key, state] as const]);
  return archive(`${op.proto}${root}${op.stop}`, storages);
}
