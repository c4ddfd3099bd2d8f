/** The generic call of an op: every op function of lib/engine/ops ends here. */
import { addon, type NativeStorage } from '../binding/addon.js';
import { show, WordmaskError } from '../util/errors.js';
import { nearest } from '../util/nearest.js';
import type { Attrs, OpCard, TensorSpec } from './card.js';
import { currentContext } from './context.js';
import { dtypeCode, isFloat } from './dtype.js';
import { recordOp } from './grad/tape.js';
import { specText } from './shapes.js';
import { type StorageRef, Tensor } from './tensor.js';

const synchronous = process.env.WORDMASK_SYNC === '1';

/**
 * Checks the call against the card, queues the op and returns its outputs, which hold values once the queue reaches them.
 * @throws E_USAGE for wrong inputs, E_OPTION for shapes and attributes the card refuses, E_DISPOSED
 */
export function run<A extends Attrs>(
  card: OpCard<A>,
  inputs: readonly (Tensor | undefined)[],
  attrs?: Partial<A>,
): Tensor[] {
  const merged = mergeAttrs(card, attrs);
  checkInputs(card as unknown as OpCard, inputs);
  const specs = card.shape(
    inputs.map((tensor) => tensor && { shape: tensor.shape, dtype: tensor.dtype }),
    merged,
  );
  const device = deviceOf(card.name, inputs);
  const taped = currentContext().grad && inputs.some((tensor) => tensor?.gradValue);
  if (taped && !card.grad && (card.inPlace || specs.some((spec) => isFloat(spec.dtype)))) {
    throw new WordmaskError(
      'E_USAGE',
      `${card.name}: has no gradient, and an input requires one: wrap the call in noGrad() or the input in stopGradient()`,
    );
  }
  const made = queue(card as unknown as OpCard, inputs, specs, packAttrs(merged), device);
  const outputs = specs.map((spec, i) =>
    outputTensor(card as unknown as OpCard, inputs, i, { native: made[i] as NativeStorage, handles: 0, device }, spec),
  );
  reportNow(outputs);
  if (taped && card.grad) recordOp(card as unknown as OpCard, inputs, outputs, merged);
  return outputs;
}

/** Hands the op to the device's queue, through the Program that is being recorded where there is one. */
function queue(
  card: OpCard,
  inputs: readonly (Tensor | undefined)[],
  specs: readonly TensorSpec[],
  attrs: Float64Array,
  device: number,
): NativeStorage[] {
  const { token, recording } = currentContext();
  const storages = inputs.map((tensor) => tensor?.storage.native ?? null);
  const meta = describe(inputs, specs);
  // A Program repeats nothing that changes what it reads, and is of one device.
  if (recording && (card.inPlace || recording.device !== device)) recording.open = false;
  if (recording?.open)
    return addon().programOp(recording.native, card.name, storages, meta, attrs, specs.length, token);
  return addon().run(card.name, storages, meta, attrs, specs.length, token, device);
}

/** With `WORDMASK_SYNC=1` waits for what was queued; a read of no elements throws what the kernel met. */
export function reportNow(outputs: readonly Tensor[]): void {
  if (!synchronous) return;
  try {
    const [first] = outputs;
    if (first)
      addon().readSync(
        first.storage.native,
        Float64Array.of(1, dtypeCode(first.dtype), 0, 0, 1),
        new ArrayBuffer(0),
        first.storage.device,
      );
  } catch (error) {
    for (const tensor of outputs) tensor.dispose();
    throw error;
  }
}

function outputTensor(
  card: OpCard,
  inputs: readonly (Tensor | undefined)[],
  index: number,
  made: StorageRef,
  spec: TensorSpec,
): Tensor {
  if (card.inPlace === 'all' || (card.inPlace && index === 0)) {
    // Another handle on the same memory: views of the input must keep counting on one reference.
    made.native.dispose();
    const input = inputs[index] as Tensor;
    return new Tensor(input.storage, spec.dtype, spec.shape, undefined, input.offset);
  }
  return new Tensor(made, spec.dtype, spec.shape);
}

/** The device on which all inputs lie; that of the context where there are none. @throws E_OPTION for several */
function deviceOf(name: string, inputs: readonly (Tensor | undefined)[]): number {
  let device: number | undefined;
  for (const tensor of inputs) {
    if (!tensor) continue;
    device ??= tensor.storage.device;
    if (tensor.storage.device === device) continue;
    const found = inputs.map((input) => (input ? `${specText(input)} on ${input.device}` : 'none'));
    throw new WordmaskError(
      'E_OPTION',
      `${name}: inputs must lie on one device, got ${found.join(', ')}: move one with to()`,
      {
        details: { op: name, devices: inputs.map((input) => input?.device) },
      },
    );
  }
  return device ?? currentContext().device ?? 0;
}

function mergeAttrs<A extends Attrs>(card: OpCard<A>, given: Partial<A> | undefined): A {
  const merged: A = { ...card.attrs };
  for (const [key, value] of Object.entries(given ?? {})) {
    if (value === undefined) continue;
    if (!(key in card.attrs)) {
      const guess = nearest(key, Object.keys(card.attrs));
      throw new WordmaskError(
        'E_OPTION',
        `${card.name}: unknown attribute ${show(key)}${guess ? `, did you mean '${guess}'?` : ''} (known: ${Object.keys(card.attrs).join(', ')})`,
      );
    }
    if (typeof value !== typeof card.attrs[key] || Number.isNaN(value)) {
      throw new WordmaskError(
        'E_OPTION',
        `${card.name}: attribute ${key} must be a ${typeof card.attrs[key]}, got ${show(value)}`,
      );
    }
    (merged as Attrs)[key] = value;
  }
  return merged;
}

function packAttrs(attrs: Attrs): Float64Array {
  return Float64Array.from(Object.values(attrs), Number);
}

function checkInputs(card: OpCard, inputs: readonly (Tensor | undefined)[]): void {
  const variadic = card.inputs.at(-1)?.startsWith('...');
  if (!variadic && inputs.length > card.inputs.length) {
    throw new WordmaskError(
      'E_USAGE',
      `${card.name}: takes ${card.inputs.length} inputs (${card.inputs.join(', ')}), got ${inputs.length}`,
    );
  }
  let floatType: string | undefined;
  for (let i = 0; i < Math.max(inputs.length, variadic ? 0 : card.inputs.length); i++) {
    const name = card.inputs[i] ?? card.inputs.at(-1);
    const tensor = inputs[i];
    if (tensor === undefined) {
      if (!name?.endsWith('?')) throw new WordmaskError('E_USAGE', `${card.name}: input ${name} is missing`);
      continue;
    }
    if (!(tensor instanceof Tensor))
      throw new WordmaskError('E_USAGE', `${card.name}: input ${name} must be a Tensor, got ${show(tensor)}`);
    if (card.mixedDtypes || !isFloat(tensor.dtype)) continue;
    floatType ??= tensor.dtype;
    if (tensor.dtype !== floatType) {
      throw new WordmaskError(
        'E_OPTION',
        `${card.name}: inputs must share one dtype, got ${inputs.map(specText).join(', ')}: cast() one of them`,
      );
    }
  }
}

/** The layout native/napi/addon.cpp reads. */
function describe(inputs: readonly (Tensor | undefined)[], outputs: readonly TensorSpec[]): Float64Array {
  const meta: number[] = [];
  for (const tensor of inputs) {
    if (!tensor) meta.push(-1);
    else meta.push(tensor.rank, dtypeCode(tensor.dtype), tensor.offset, ...tensor.shape, ...tensor.strides);
  }
  for (const spec of outputs) meta.push(spec.shape.length, dtypeCode(spec.dtype), ...spec.shape);
  return Float64Array.from(meta);
}
