/** A small writer of ONNX models (onnx.proto, IR version 8, opset 17): nodes, f32 and i64 constants, one dynamic batch axis. */
import { open } from 'node:fs/promises';
import { Message } from './protobuf.js';

export type Attribute = number | { readonly float: number } | string | readonly number[];

const floatType = 1;
const int64Type = 7;

export class OnnxGraph {
  private readonly graph = new Message();
  private readonly constants = new Set<string>();
  private nodes = 0;

  constructor(name: string) {
    this.graph.bytes(2, name);
  }

  /** Adds a node with one output and returns the output's name. */
  node(
    op: string,
    inputs: readonly string[],
    attributes: Readonly<Record<string, Attribute>> = {},
    options: { output?: string; domain?: string } = {},
  ): string {
    const output = options.output ?? `${op.toLowerCase()}_${this.nodes}`;
    const node = new Message();
    for (const input of inputs) node.bytes(1, input);
    node
      .bytes(2, output)
      .bytes(3, `${op}_${this.nodes++}`)
      .bytes(4, op);
    for (const [name, value] of Object.entries(attributes)) node.message(5, attribute(name, value));
    if (options.domain) node.bytes(7, options.domain);
    this.graph.message(1, node);
    return output;
  }

  /** A weight; the name is its own, so that one added twice is stored once. */
  constant(name: string, data: Float32Array, shape: readonly number[]): string {
    return this.initializer(name, floatType, new Uint8Array(data.buffer, data.byteOffset, data.byteLength), shape);
  }

  scalar(value: number): string {
    return this.constant(`scalar_${value}`, Float32Array.of(value), []);
  }

  /** Shapes and index lists. */
  ints(values: readonly number[]): string {
    const data = BigInt64Array.from(values, BigInt);
    return this.initializer(`ints_${values.join('_')}`, int64Type, new Uint8Array(data.buffer), [values.length]);
  }

  private initializer(name: string, type: number, bytes: Uint8Array, shape: readonly number[]): string {
    if (this.constants.has(name)) return name;
    this.constants.add(name);
    const tensor = new Message();
    for (const size of shape) tensor.int(1, size);
    this.graph.message(5, tensor.int(2, type).bytes(8, name).bytes(9, bytes));
    return name;
  }

  /** f32 input; 'N' stands for the batch. */
  input(name: string, shape: readonly (number | 'N')[]): string {
    this.graph.message(11, valueInfo(name, shape));
    return name;
  }

  output(name: string, shape: readonly (number | 'N')[]): void {
    this.graph.message(12, valueInfo(name, shape));
  }

  async save(path: string): Promise<void> {
    const model = new Message().int(1, 8).bytes(2, 'wordmask bench').message(7, this.graph);
    model.message(8, new Message().bytes(1, '').int(2, 17));
    const file = await open(path, 'w');
    try {
      for (const piece of model.pieces) await file.writeFile(piece);
    } finally {
      await file.close();
    }
  }
}

function attribute(name: string, value: Attribute): Message {
  const message = new Message().bytes(1, name);
  if (typeof value === 'number') return message.int(3, value).int(20, 2);
  if (typeof value === 'string') return message.bytes(4, value).int(20, 3);
  if ('float' in value) return message.float(2, value.float).int(20, 1);
  for (const item of value) message.int(8, item);
  return message.int(20, 7);
}

function valueInfo(name: string, shape: readonly (number | 'N')[]): Message {
  const dims = new Message();
  for (const size of shape) dims.message(1, size === 'N' ? new Message().bytes(2, size) : new Message().int(1, size));
  const tensor = new Message().int(1, floatType).message(2, dims);
  return new Message().bytes(1, name).message(2, new Message().message(1, tensor));
}
