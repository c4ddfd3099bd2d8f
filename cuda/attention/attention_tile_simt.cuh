// Tile products of the portable tier in f32: 256 threads, tiles of 64 rows, operands in shared memory with the summed axis
// first, 4 x 4 results a thread for each 64 columns.
#pragma once

#include "cuda/attention/attention_softmax.cuh"

namespace wm::cuda::attention {

constexpr int kSimtTile = 64, kSimtThreads = 256;
constexpr int kSimtDepth = 32;  // of an operand that is loaded
// 4 floats behind each row: rows stay aligned to float4, and the transposing stores below reach 32 banks.
constexpr int kSimtPitch = kSimtTile + 4;

// One block's shared memory. `weights` holds a score tile as an operand.
template <int kWidth>
struct SimtShared {
  static constexpr int kWidePitch = kWidth + 4;
  static constexpr int kOperands = 2 * kSimtDepth * kSimtPitch > kSimtDepth * kWidePitch ? 2 * kSimtDepth * kSimtPitch
                                                                                       : kSimtDepth * kWidePitch;
  float operands[kOperands];
  float weights[kSimtTile * kSimtPitch];

  __device__ float *x() { return operands; }
  __device__ float *y() { return operands + kSimtDepth * kSimtPitch; }
};

// shared[c][r] = x(first + r, c0 + c) for 64 rows and 32 columns, 0 from row `rows` and column `columns` on. A warp takes 8
// columns of 4 rows: whole sectors of memory and all banks.
template <class T>
__device__ void load_transposed(float *shared, const T *x, const Rows &steps, int first, int rows, int c0, int columns) {
  constexpr int kStep = kSimtThreads / kSimtDepth;  // rows between two of a thread, all of one column
  const int thread = static_cast<int>(threadIdx.x);
  const int c = thread % 8 + thread / 32 % 4 * 8, r0 = thread / 8 % 4 + thread / 128 * 4;
  const int end = c0 + c < columns ? rows - first : 0;
  const T *from = x + (first + r0) * steps.row + (c0 + c) * steps.column;
  float *to = shared + c * kSimtPitch + r0;
#pragma unroll 4
  for (int k = 0; k < kSimtTile / kStep; ++k) {
    to[k * kStep] = r0 + k * kStep < end ? to_float(from[k * kStep * steps.row]) : 0.0f;
  }
}

// shared[r][c] = x(first + r, c0 + c) for 32 rows and kWidth columns, zeros as above.
template <int kWidth, class T>
__device__ void load_rows(float *shared, const T *x, const Rows &steps, int first, int rows, int c0, int columns) {
  constexpr int kStep = kSimtThreads / kWidth;  // rows between two of a thread, all of one column
  const int c = static_cast<int>(threadIdx.x) % kWidth, r0 = static_cast<int>(threadIdx.x) / kWidth;
  const int end = c0 + c < columns ? rows - first : 0;
  const T *from = x + (first + r0) * steps.row + (c0 + c) * steps.column;
  float *to = shared + r0 * (kWidth + 4) + c;
#pragma unroll 4
  for (int k = 0; k < kSimtDepth / kStep; ++k) {
    to[k * kStep * (kWidth + 4)] = r0 + k * kStep < end ? to_float(from[k * kStep * steps.row]) : 0.0f;
  }
}

// sum(r, c) += x[k][row r] y[k][column c] over `depth` k.
template <int kGroups>
__device__ void multiply(const float *x, const float *y, int y_pitch, int depth, SimtFragment<kGroups> &sum) {
  x += sum.row(0);
  y += sum.column(0);
#pragma unroll 2
  for (int k = 0; k < depth; ++k) {
    const float4 a = *reinterpret_cast<const float4 *>(x + k * kSimtPitch);
    const float rows[4] = {a.x, a.y, a.z, a.w};
#pragma unroll
    for (int g = 0; g < kGroups; ++g) {
      const float4 b = *reinterpret_cast<const float4 *>(y + k * y_pitch + g * 64);
      const float columns[4] = {b.x, b.y, b.z, b.w};
#pragma unroll
      for (int r = 0; r < 4; ++r) {
#pragma unroll
        for (int c = 0; c < 4; ++c) sum.at(r, g * 4 + c) = fmaf(rows[r], columns[c], sum.at(r, g * 4 + c));
      }
    }
  }
}

// s = rows [i0, i0 + 64) of a times rows [j0, j0 + 64) of b, transposed; rows from na and nb on count as 0.
template <int kWidth, class T>
__device__ void multiply_rows(SimtShared<kWidth> &shared, const T *a, const Rows &a_steps, int i0, int na, const T *b,
                              const Rows &b_steps, int j0, int nb, int depth, SimtFragment<1> &s) {
  s.clear();
  for (int c0 = 0; c0 < depth; c0 += kSimtDepth) {
    __syncthreads();  // readers of what lay here before
    load_transposed(shared.x(), a, a_steps, i0, na, c0, depth);
    load_transposed(shared.y(), b, b_steps, j0, nb, c0, depth);
    __syncthreads();
    multiply(shared.x(), shared.y(), kSimtPitch, min(kSimtDepth, depth - c0), s);
  }
}

// weights[column][row] = s, for products that sum over columns.
template <int kWidth>
__device__ void keep_columns_first(SimtShared<kWidth> &shared, SimtFragment<1> &s) {
#pragma unroll
  for (int c = 0; c < 4; ++c) {
    *reinterpret_cast<float4 *>(shared.weights + s.column(c) * kSimtPitch + s.row(0)) =
        make_float4(s.at(0, c), s.at(1, c), s.at(2, c), s.at(3, c));
  }
}

// weights[row][column] = s, for products that sum over rows.
template <int kWidth>
__device__ void keep_rows_first(SimtShared<kWidth> &shared, SimtFragment<1> &s) {
#pragma unroll
  for (int r = 0; r < 4; ++r) {
    *reinterpret_cast<float4 *>(shared.weights + s.row(r) * kSimtPitch + s.column(0)) =
        make_float4(s.at(r, 0), s.at(r, 1), s.at(r, 2), s.at(r, 3));
  }
}

// sum += weights (its first index summed) times rows [first, first + 64) of x, columns from c0; rows from n on count as 0.
// The weights must have been kept before; a barrier here makes them visible.
template <int kWidth, class T>
__device__ void multiply_weights(SimtShared<kWidth> &shared, const T *x, const Rows &steps, int first, int n, int c0,
                                 int columns, SimtFragment<kWidth / 64> &sum) {
  for (int k0 = 0; k0 < kSimtTile && first + k0 < n; k0 += kSimtDepth) {
    __syncthreads();
    load_rows<kWidth>(shared.operands, x, steps, first + k0, n, c0, columns);
    __syncthreads();
    multiply(shared.weights + k0 * kSimtPitch, shared.operands, SimtShared<kWidth>::kWidePitch, kSimtDepth, sum);
  }
}

}  // namespace wm::cuda::attention
