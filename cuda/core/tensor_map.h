// Descriptions of matrices in device memory for the tensor copy engine (TMA) of capability 9.0, made on the host and passed
// to a kernel as `const __grid_constant__ CUtensorMap`. Device code is in cuda/core/sm90.cuh.
#pragma once

#include <cuda.h>

#include <cstdint>

#include "native/core/dtype.h"

namespace wm::cuda {

constexpr int kMaxMapDims = 4;

// A box of a tensor, innermost dimension first. Elements of dimension 0 are consecutive.
struct TensorMapShape {
  int dims;                          // 2 to 4
  int64_t size[kMaxMapDims];         // of the tensor; copies outside of it read zeros and write nothing
  int64_t stride[kMaxMapDims];       // elements; of dimensions 1 and on, whole 16-byte units in bytes
  int box[kMaxMapDims];              // of one copy: at most 256 each, box[0] at most 128 bytes where swizzled
};

// Whether `data` and the strides are aligned as the engine needs (16 bytes) and the sizes in its range.
inline bool tensor_map_fits(const void *data, DType dtype, const TensorMapShape &shape) {
  const int64_t element = static_cast<int64_t>(dtype_size(dtype));
  if (reinterpret_cast<uintptr_t>(data) % 16 != 0) return false;
  for (int i = 0; i < shape.dims; ++i) {
    if (shape.size[i] < 1 || shape.size[i] > INT32_MAX) return false;
    if (i > 0 && (shape.stride[i] * element % 16 != 0 || shape.stride[i] <= 0)) return false;
    if (i > 0 && shape.stride[i] >= (int64_t{1} << 40) / element) return false;
  }
  return true;
}

// A map over f32, bf16 or f16 memory; `swizzle`: 16-byte chunks permuted within 1024-byte atoms as sm90.cuh says, else rows
// as they are. Throws wm::Error where the driver refuses or has no such function.
CUtensorMap make_tensor_map(const void *data, DType dtype, const TensorMapShape &shape, bool swizzle);

}  // namespace wm::cuda
