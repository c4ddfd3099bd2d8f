/**
 * Memory-mapped files as a source of tensors: pages are read on use and shared with the page cache. Where the file becomes
 * shorter meanwhile, or its disk fails, what reads the lost bytes fails with E_DISK. Bytes that somebody overwrites in place are
 * seen as they then are: replace a file by renaming, as every writer here does.
 */
import { addon, type NativeMapped } from '../binding/addon.js';
import type { DType } from './dtype.js';
import { Tensor } from './tensor.js';

export interface MappedFile {
  readonly path: string;
  readonly bytes: number;
  /** A read-only tensor over bytes of the file; copied to fresh memory when the offset is no multiple of the element's size. */
  tensor(byteOffset: number, dtype: DType, shape: readonly number[]): Tensor;
}

/** Maps a file. @throws E_DISK when it cannot be opened */
export function mapFile(path: string): MappedFile {
  const mapped: NativeMapped = addon().mapFile(path);
  return {
    path,
    bytes: addon().mappedSize(mapped),
    tensor: (byteOffset, dtype, shape) => Tensor.fromMapped(mapped, byteOffset, dtype, shape),
  };
}
