/** Views on the byte arrays host algorithms return. */

function aligned(bytes: Uint8Array, size: number): ArrayBufferLike {
  return bytes.byteOffset % size === 0 && bytes.byteOffset === 0 && bytes.byteLength === bytes.buffer.byteLength
    ? bytes.buffer
    : bytes.slice().buffer;
}

export const asUint16 = (bytes: Uint8Array): Uint16Array => new Uint16Array(aligned(bytes, 2));
export const asUint32 = (bytes: Uint8Array): Uint32Array => new Uint32Array(aligned(bytes, 4));
export const asInt32 = (bytes: Uint8Array): Int32Array => new Int32Array(aligned(bytes, 4));
export const asFloat64 = (bytes: Uint8Array): Float64Array => new Float64Array(aligned(bytes, 8));

/** A map of samples of 1, 2 or 4 bytes, as label maps come. */
export type SampleArray = Uint8Array | Uint8ClampedArray | Uint16Array | Int16Array | Uint32Array | Int32Array;
