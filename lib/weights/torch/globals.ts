/**
 * The names that a checkpoint may mention, and what a call of each stands for here. Nothing is imported or executed: a name
 * that is not in this list ends the reading.
 */
import { Dict, Inert, List, Name, type Pickled, StorageRef, TensorRef, type TorchDtype, Tuple } from './values.js';

/** Throws the error of a call with arguments that PyTorch never writes. */
type Refuse = (reason: string) => never;
type Call = (args: readonly Pickled[], refuse: Refuse) => Pickled;

const storages: Readonly<Record<string, TorchDtype | undefined>> = {
  'torch.FloatStorage': 'F32',
  'torch.HalfStorage': 'F16',
  'torch.BFloat16Storage': 'BF16',
  'torch.DoubleStorage': 'F64',
  'torch.LongStorage': 'I64',
  'torch.IntStorage': 'I32',
  'torch.ShortStorage': 'I16',
  'torch.CharStorage': 'I8',
  'torch.ByteStorage': 'U8',
  'torch.BoolStorage': 'BOOL',
  'torch.ComplexFloatStorage': 'C64',
  'torch.ComplexDoubleStorage': 'C128',
  'torch.storage.UntypedStorage': undefined,
  'torch.UntypedStorage': undefined,
};

const dtypes: Readonly<Record<string, TorchDtype>> = {
  'torch.float32': 'F32',
  'torch.float16': 'F16',
  'torch.bfloat16': 'BF16',
  'torch.float64': 'F64',
  'torch.int64': 'I64',
  'torch.int32': 'I32',
  'torch.int16': 'I16',
  'torch.int8': 'I8',
  'torch.uint8': 'U8',
  'torch.bool': 'BOOL',
  'torch.complex64': 'C64',
  'torch.complex128': 'C128',
  'torch.uint16': 'U16',
  'torch.uint32': 'U32',
  'torch.uint64': 'U64',
  'torch.float8_e4m3fn': 'F8_E4M3',
  'torch.float8_e5m2': 'F8_E5M2',
};

export const dtypeBytes: Readonly<Record<TorchDtype, number>> = {
  F32: 4,
  F16: 2,
  BF16: 2,
  F64: 8,
  I64: 8,
  I32: 4,
  I16: 2,
  I8: 1,
  U8: 1,
  BOOL: 1,
  C64: 8,
  C128: 16,
  U16: 2,
  U32: 4,
  U64: 8,
  F8_E4M3: 1,
  F8_E5M2: 1,
};

/**
 * Classes that trainers leave beside the weights (settings, callbacks, single numbers). Their instances become marks without
 * content.
 */
const inert: readonly RegExp[] = [
  /^argparse\.Namespace$/,
  /^_codecs\.encode$/,
  /^numpy\.dtype$/,
  /^numpy\.(_?core)\.multiarray\.scalar$/,
  /^(pytorch_lightning|lightning|lightning\.pytorch|lightning_fabric)(\.[a-z_]+)*\.(ModelCheckpoint|EarlyStopping|LearningRateMonitor|AttributeDict)$/,
];

const calls: Readonly<Record<string, Call>> = {
  'collections.OrderedDict': orderedDict,
  'torch.Size': ([list], refuse) => (list instanceof Tuple || list instanceof List ? list : refuse('torch.Size')),
  'torch.device': ([kind], refuse) => (typeof kind === 'string' ? kind : refuse('torch.device')),
  'torch._utils._rebuild_tensor': rebuildTensor,
  'torch._utils._rebuild_tensor_v2': rebuildTensor,
  'torch._utils._rebuild_tensor_v3': (args, refuse) => rebuildTensor(args, refuse, args[6]),
  'torch._utils._rebuild_parameter': ([tensor], refuse) =>
    tensor instanceof TensorRef ? tensor : refuse('a parameter of no tensor'),
  'torch._utils._rebuild_parameter_with_state': ([tensor], refuse) =>
    tensor instanceof TensorRef ? tensor : refuse('a parameter of no tensor'),
};

/** Whether a pickle may mention the name at all. */
export function allowedName(name: string): boolean {
  return (
    Object.hasOwn(calls, name) ||
    Object.hasOwn(storages, name) ||
    Object.hasOwn(dtypes, name) ||
    inert.some((pattern) => pattern.test(name))
  );
}

/** What calling an allowed name gives. @param refuse for what cannot be called, or not so */
export function callName(name: Name, args: Tuple, refuse: Refuse): Pickled {
  const call = Object.hasOwn(calls, name.text) ? calls[name.text] : undefined;
  if (call) return call(args.items, refuse);
  if (inert.some((pattern) => pattern.test(name.text))) return new Inert(name.text);
  return refuse(`${name.text} is no function`);
}

function orderedDict(args: readonly Pickled[], refuse: Refuse): Dict {
  const dict = new Dict();
  const [pairs] = args;
  if (pairs === undefined) return dict;
  if (!(pairs instanceof List)) return refuse('a dictionary made of no list');
  for (const pair of pairs.items) {
    const items = pair instanceof Tuple || pair instanceof List ? pair.items : [];
    if (items.length !== 2) return refuse('a dictionary made of what are no pairs');
    dict.set(items[0] as Pickled, items[1] as Pickled);
  }
  return dict;
}

const maxRank = 64;

/** (storage, offset, shape, stride, ...): torch/_utils.py. */
function rebuildTensor(args: readonly Pickled[], refuse: Refuse, dtypeName?: Pickled): TensorRef {
  const [storage, offset, shape, stride] = args;
  if (!(storage instanceof StorageRef)) return refuse('a tensor without storage');
  const named = dtypeName instanceof Name ? dtypes[dtypeName.text] : undefined;
  const dtype = dtypeName === undefined ? storage.dtype : named;
  if (dtype === undefined) return refuse('a tensor without element type');
  const dims = wholeNumbers(shape);
  const steps = wholeNumbers(stride);
  if (!dims || !steps || dims.length !== steps.length || dims.length > maxRank || !isCount(offset))
    return refuse('a tensor whose offset, shape and stride do not fit together');
  return new TensorRef(storage, dtype, offset, dims, steps);
}

function wholeNumbers(value: Pickled | undefined): number[] | undefined {
  if (!(value instanceof Tuple || value instanceof List)) return undefined;
  return value.items.every(isCount) ? (value.items as number[]) : undefined;
}

function isCount(value: Pickled | undefined): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

/** ('storage', type, key, location, count): what a persistent id says in a checkpoint. */
export function storageOf(id: Pickled, refuse: Refuse): StorageRef {
  const [tag, type, key, , count] = id instanceof Tuple ? id.items : [];
  if (tag !== 'storage' || !(type instanceof Name) || !Object.hasOwn(storages, type.text))
    return refuse('a persistent id that is no storage');
  if (typeof key !== 'string' || !/^[A-Za-z0-9_]{1,64}$/.test(key) || !isCount(count))
    return refuse('a storage without a plain name and size');
  return new StorageRef(key, storages[type.text], count);
}
