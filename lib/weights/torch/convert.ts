/** From a PyTorch checkpoint to a safetensors file, tensor by tensor: element types as they are, names as a key map says. */
import { weightsError } from '../header-scanner.js';
import { type KeyMap, type KeyPlan, mapKeys } from '../keymap.js';
import type { FileDtype } from '../safetensors-header.js';
import { type TensorToWrite, writeSafetensors } from '../safetensors-writer.js';
import { dtypeBytes } from './globals.js';
import type { TorchFile } from './torch-file.js';

export interface ConvertOptions {
  /** Names of the checkpoint -> names to write; without a map they stay. */
  readonly map?: KeyMap;
  readonly signal?: AbortSignal;
  readonly onProgress?: (done: number, total: number, name: string) => void;
}

export interface Converted {
  /** Tensors written, in the order of the checkpoint, with their names there. */
  readonly tensors: readonly { readonly name: string; readonly source: string }[];
  /** Tensors that the rules leave out (momentum copies, queues). */
  readonly dropped: readonly string[];
  /** Tensors of 128-bit complex numbers, which safetensors does not have. */
  readonly unwritable: readonly string[];
}

/**
 * Writes the tensors of an open checkpoint; at no time is more than one of them in memory. Equal checkpoints give equal bytes.
 * @throws E_WEIGHTS where nothing is left to write or the rules do not fit; E_DISK; `signal.reason`
 */
export async function convertTorch(file: TorchFile, out: string, options: ConvertOptions = {}): Promise<Converted> {
  const { map = { rules: [] }, signal, onProgress } = options;
  const unwritable = [...file.stored].filter(([, { dtype }]) => dtype === 'C128').map(([name]) => name);
  const writable = [...file.stored].filter(([, { dtype }]) => dtype !== 'C128');
  const plans = mapKeys(file.path, writable, map.rules, map.infix);
  if (plans.size === 0) throw weightsError(file.path, 'holds no tensor that can be written and that the key map keeps');
  let done = 0;
  const writing = [...plans].map(([name, plan]): [string, TensorToWrite] => {
    const { dtype, shape } = file.stored.get(plan.source) as { dtype: FileDtype; shape: readonly number[] };
    const data = async (): Promise<Uint8Array> => {
      onProgress?.(++done, plans.size, name);
      return rearrange(await file.readStored(plan.source, { signal }), shape, dtypeBytes[dtype], plan);
    };
    return [name, { dtype, shape: plan.shape, data }];
  });
  // Readers of other libraries ask for the layout of the tensors.
  await writeSafetensors(out, writing, { metadata: { format: 'pt' }, signal });
  const used = new Set([...plans.values()].map(({ source }) => source));
  return {
    tensors: [...plans].map(([name, { source }]) => ({ name, source })),
    dropped: writable.map(([name]) => name).filter((name) => !used.has(name)),
    unwritable,
  };
}

/** The part and order of a tensor's bytes that a plan asks for. */
function rearrange(bytes: Uint8Array, shape: readonly number[], width: number, plan: KeyPlan): Uint8Array {
  const length = bytes.byteLength / plan.parts;
  const part = plan.parts === 1 ? bytes : bytes.slice(plan.part * length, (plan.part + 1) * length);
  if (!plan.transpose) return part;
  const [rows, columns] = [(shape[0] as number) / plan.parts, shape[1] as number];
  const out = new Uint8Array(part.byteLength);
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++)
      for (let byte = 0; byte < width; byte++)
        out[(column * rows + row) * width + byte] = part[(row * columns + column) * width + byte] as number;
  return out;
}
