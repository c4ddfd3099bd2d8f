// GEMM table in plain C++: 4 rows by 16 columns, the columns left to the compiler's vectoriser.
#include <cmath>

#include "native/core/cpu_info.h"
#include "native/cpu/math/gemm_kernels.h"

namespace wm {

namespace {

constexpr int kPanelRows = 4;
constexpr int kPanelCols = 16;

void tile_f32(int rows, int, int64_t k, const float *a, const float *b, float *sums, int64_t stride,
              Ahead) {
  float tile[kPanelRows * kPanelCols] = {};
  for (int64_t i = 0; i < k; ++i) {
    for (int r = 0; r < rows; ++r) {
      const float x = a[i * kPanelRows + r];
      for (int c = 0; c < kPanelCols; ++c) tile[r * kPanelCols + c] += x * b[i * kPanelCols + c];
    }
  }
  for (int r = 0; r < rows; ++r) {
    for (int c = 0; c < kPanelCols; ++c) sums[r * stride + c] = tile[r * kPanelCols + c];
  }
}

void accumulate(const float *tile, int rows, int cols, float *partial, int64_t partial_stride) {
  for (int r = 0; r < rows; ++r) {
    for (int c = 0; c < cols; ++c) partial[r * partial_stride + c] += tile[r * kPanelCols + c];
  }
}

float activate(Activation activation, float x) {
  switch (activation) {
    case Activation::quick_gelu: return x / (1.0f + std::exp(-1.702f * x));
    case Activation::gelu: return 0.5f * x * std::erfc(-0.70710678f * x);
    case Activation::relu: return x < 0.0f ? 0.0f : x;
    case Activation::gelu_tanh: return x / (1.0f + std::exp(-x * (1.59576912f + 0.0713548163f * x * x)));
    default: return x;
  }
}

void store(void *to, bool narrow, int64_t at, float x) {
  if (narrow) static_cast<bf16 *>(to)[at] = to_bf16(x);
  else static_cast<float *>(to)[at] = x;
}

void finish(const float *tile, const TileOutput &o) {
  for (int r = 0; r < o.rows; ++r) {
    for (int c = 0; c < o.cols; ++c) {
      float x = tile[r * kPanelCols + c];
      if (o.partial) x += o.partial[r * o.partial_stride + c];
      x *= o.column_scale ? o.scale * o.column_scale[c] : o.scale;
      if (o.bias) x += o.bias[c];
      const int64_t at = r * o.out_stride + c;
      if (o.gate) x *= o.gate_bf16 ? to_float(static_cast<const bf16 *>(o.gate)[at]) : static_cast<const float *>(o.gate)[at];
      if (o.slope) store(o.slope, o.out_bf16, at, x);
      x = activate(o.activation, x);
      const int64_t from = r * o.residual_stride + c;
      if (o.residual && o.residual_bf16) x += to_float(static_cast<const bf16 *>(o.residual)[from]);
      if (o.residual && !o.residual_bf16) x += static_cast<const float *>(o.residual)[from];
      store(o.out, o.out_bf16, at, x);
    }
  }
}

}  // namespace

const GemmKernels &gemm_kernels_scalar() {
  static const GemmKernels table = {kPanelRows, kPanelCols, tile_f32, nullptr, nullptr, nullptr, accumulate,
                                    finish,     false,      nullptr,  nullptr, nullptr, nullptr};
  return table;
}

const GemmKernels &gemm_kernels() {
#if defined(__x86_64__)
  switch (cpu_isa()) {
    case Isa::avx512bf16: return gemm_kernels_avx512bf16();
    case Isa::avx512: return gemm_kernels_avx512();
    case Isa::avx2: return gemm_kernels_avx2();
    case Isa::scalar: break;
  }
#endif
  return gemm_kernels_scalar();
}

}  // namespace wm
