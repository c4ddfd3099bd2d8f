// Grids over rows x columns, and index helpers, shared by the image and window kernels.
#pragma once

#include "cuda/core/op.h"

namespace wm::cuda {

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

constexpr int kRowThreads = 256;

struct RowGrid {
  dim3 grid, block;
};

// 256 threads a block: as many along the columns as there are, a power of two of 128 at most, the rest over rows.
// Columns beyond the grid are reached by column_step.
inline RowGrid row_grid(int64_t rows, int64_t columns) {
  unsigned along = 1;
  while (along < 128 && along < columns) along *= 2;
  const unsigned down = kRowThreads / along;
  const int64_t across = ceil_div(columns, along);
  return {dim3(blocks_for(rows, down), static_cast<unsigned>(across < 65535 ? across : 65535)),
          dim3(along, down)};
}

__device__ __forceinline__ int64_t grid_row() { return int64_t{blockIdx.x} * blockDim.y + threadIdx.y; }
__device__ __forceinline__ int64_t grid_column() { return int64_t{blockIdx.y} * blockDim.x + threadIdx.x; }
__device__ __forceinline__ int64_t column_step() { return int64_t{gridDim.y} * blockDim.x; }
__device__ __forceinline__ int64_t grid_index() { return int64_t{blockIdx.x} * blockDim.x + threadIdx.x; }

// a / b for a >= 0, b > 0; 64-bit division costs about four times the 32-bit one, which nearly always does.
__device__ __forceinline__ int64_t quotient(int64_t a, int64_t b) {
  if (((a | b) >> 32) == 0) return static_cast<uint32_t>(a) / static_cast<uint32_t>(b);
  return a / b;
}

}  // namespace wm::cuda
