/** As much of the protobuf wire format as an ONNX file needs: varints, 32-bit floats and length-delimited fields. */

/** A message as pieces: large tensors are never copied while it grows. */
export class Message {
  readonly pieces: Uint8Array[] = [];
  length = 0;

  private push(bytes: Uint8Array): void {
    this.pieces.push(bytes);
    this.length += bytes.length;
  }

  /** int32, int64 or an enumeration, not negative. */
  int(field: number, value: number | bigint): this {
    this.push(varint(BigInt(field) << 3n));
    this.push(varint(BigInt(value)));
    return this;
  }

  float(field: number, value: number): this {
    this.push(varint((BigInt(field) << 3n) | 5n));
    this.push(new Uint8Array(Float32Array.of(value).buffer));
    return this;
  }

  bytes(field: number, value: Uint8Array | string): this {
    const data = typeof value === 'string' ? new TextEncoder().encode(value) : value;
    this.push(varint((BigInt(field) << 3n) | 2n));
    this.push(varint(BigInt(data.length)));
    this.push(data);
    return this;
  }

  message(field: number, value: Message): this {
    this.push(varint((BigInt(field) << 3n) | 2n));
    this.push(varint(BigInt(value.length)));
    for (const piece of value.pieces) this.push(piece);
    return this;
  }
}

function varint(value: bigint): Uint8Array {
  const bytes: number[] = [];
  let rest = value;
  while (rest > 127n) {
    bytes.push(Number(rest & 127n) | 128);
    rest >>= 7n;
  }
  bytes.push(Number(rest));
  return Uint8Array.from(bytes);
}
