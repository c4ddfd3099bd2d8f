// Y = epilogue(A B) for dense matrices: the driver behind linear, linear_packed, matmul and cosine_logits.
//
// Order of summation, the same for every output whatever M, the tile, the chunk or the thread: blocks of 768
// along k, each one chain of multiply-adds over ascending k starting at 0, the blocks then added in order,
// all in f32.
#pragma once

#include <cstdint>
#include <vector>

#include "native/core/op.h"
#include "native/cpu/math/gemm_kernels.h"

namespace wm {

constexpr int64_t kGemmBlockK = 768;
// Columns of a packed matrix are padded to whole panels of every tier.
constexpr int64_t kPackedColumns = 48;

// A is indexed (row m, k), B (column n, k): a weight [N, K] and a row-major activation [M, K] look alike.
struct GemmOperand {
  const void *data = nullptr;
  DType dtype = DType::f32;
  int64_t row_stride = 0;            // elements from one m (A) or n (B) to the next
  int64_t k_stride = 0;              // elements from one k to the next
  const int64_t *offsets = nullptr;  // start of each batch in elements; null: all batches share the data
  bool packed = false;               // B alone: panels made by gemm_pack_all, strides unused
  // An axis in runs, for convolutions: index i lies at starts[i / run] + (i % run) * stride. Null starts: one run.
  int64_t row_run = 0, k_run = 0;
  const int64_t *row_starts = nullptr, *k_starts = nullptr;
};

struct GemmArgs {
  int64_t m = 0, n = 0, k = 0, batch = 1;
  GemmOperand a, b;
  bool pairs = false;  // operands rounded to bf16 and multiplied in pairs; else f32
  double scale = 1.0;
  Activation activation = Activation::none;
  const float *column_scale = nullptr;  // [batch, N]
  const float *bias = nullptr;          // [N]
  const void *residual = nullptr;       // [batch, M, N], f32 or bf16
  void *out = nullptr;                  // [batch, M, N], f32 or bf16
  void *slope = nullptr;                // slopes of the activation, as out; null: not wanted
  DType residual_dtype = DType::f32, out_dtype = DType::f32;
  const void *gate = nullptr;  // [batch, M, N], multiplies the sum behind the bias; null: 1
  DType gate_dtype = DType::f32;
};

// Element dtypes: f32, bf16, f16 (f64 goes through gemm_f64). Runs on the pool; scratch from the call.
void gemm(OpCall &call, const GemmArgs &args);

// The same product for f64 operands, output and residual. `bias` and `column_scale` are f64 arrays here.
struct GemmF64Extras {
  const double *bias = nullptr;
  const double *column_scale = nullptr;
};
void gemm_f64(OpCall &call, const GemmArgs &args, const GemmF64Extras &extras);

// Bytes of all panels of B.
int64_t gemm_packed_bytes(int64_t n, int64_t k, bool pairs);
// Panels of B, one after another: [ceil(n / tile_cols)][k or pairs][tile_cols].
void gemm_pack_all(OpCall &call, const GemmOperand &b, int64_t n, int64_t k, bool pairs, void *out);

// One panel of `width` rows (zero beyond `rows`) over k0 .. k0 + k - 1; `panel` has room for 8 elements more.
void gemm_pack_panel(const GemmKernels &kernels, const GemmOperand &source, int64_t offset, int64_t row,
                     int rows, int width, int64_t k0, int64_t k, bool pairs, void *panel);
// Whether the micro-kernel reads A as it lies: rows of consecutive k in the type of the product, where the tier can.
bool gemm_reads_in_place(const GemmArgs &args, const GemmKernels &kernels, bool dot_pairs);
// Pairs to f32, in the panel layout of f32.
void gemm_expand_panel(const uint32_t *pairs, int width, int64_t k, float *panel);

}  // namespace wm
