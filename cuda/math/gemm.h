// The GEMM family on the device (kernels.md section 1), behind linear, linear_packed, linear_bwd_*, matmul:
//   out[b, m, n] = act(gate (scale sum_k A[b, m, k] B[b, n, k] + bias[n])) + residual
// Three tiers share the epilogue (gemm_epilogue.cuh): T1 f32 register tiles (gemm_f32.cu; f32 products and devices without
// bf16 units), T2 mma.sync (gemm_bf16.cu), T3 wgmma and TMA (gemm_bf16_sm90.cu).
//
// Order of summation: one chain over ascending k per output and part of K, the parts then added in order. Tier, parts and
// T3's tile follow from K, N and the layout alone, so that a row's bits do not depend on what shares its batch; T1 and T2
// may take smaller tiles for few rows, because a tile does not touch a chain.
#pragma once

#include <cstdint>

#include "cuda/core/op.h"

namespace wm::cuda {

// Codes of lib/engine/ops/math/activation.ts.
enum class Activation : int { none = 0, quick_gelu = 1, gelu = 2, relu = 3, gelu_tanh = 4 };

constexpr int kMaxLeads = kMaxDims - 2;

// A is indexed (m, k), B (n, k): a weight [N, K] and a row-major activation [M, K] look alike.
struct GemmOperand {
  const void *data = nullptr;
  DType dtype = DType::f32;     // f32 or bf16
  int64_t row_stride = 0;       // elements from one m or n to the next
  int64_t k_stride = 0;         // elements from one k to the next
  int64_t lead_stride[kMaxLeads] = {};  // elements along each leading axis; 0 where all batches share the matrix
};

struct GemmEpilogue {
  float scale = 1.0f;
  const void *bias = nullptr;      // [N]; null: 0
  const void *residual = nullptr;  // as out; null: 0
  const void *gate = nullptr;      // as out; null: 1
  void *out = nullptr;             // [batch, M, N], contiguous, f32 or bf16
  void *slope = nullptr;           // slopes of the activation, as out; null: not wanted
  bool bias_bf16 = false, residual_bf16 = false, gate_bf16 = false, out_bf16 = false;
};

// What a kernel gets, by value.
struct GemmParams {
  int64_t m = 0, n = 0, k = 0;
  int leads = 0;  // leading axes; their sizes multiply to the batch
  int64_t lead_size[kMaxLeads] = {};
  GemmOperand a, b;
  GemmEpilogue epilogue;
  float *row_sums = nullptr;  // [M] sums of A over k, of batch 0; null: not wanted
  bool round = false;         // T1 alone: f32 operands are rounded to bf16 first
  // Part p of K covers k from p * part_k on, fewer than 2^30; with more than one part, sums go unfinished to partial [parts, batch, M, N] and
  // row sums to row_partial [parts, M].
  int parts = 1;
  int64_t part_k = 0;
  float *partial = nullptr, *row_partial = nullptr;
};

struct GemmArgs {
  GemmParams params;  // parts and below are filled in by gemm
  Activation activation = Activation::none;
  bool narrow = false;   // operands rounded to bf16; else f32
  int64_t parts = 0;     // of K, wanted where K is the long axis; 0: what N and K suggest
};

inline int64_t gemm_batch(const GemmParams &p) {
  int64_t batch = 1;
  for (int i = 0; i < p.leads; ++i) batch *= p.lead_size[i];
  return batch;
}

// One at least where row sums are wanted: the first column of tiles makes them.
inline int64_t gemm_tiles_n(const GemmParams &p, int64_t tile) {
  const int64_t tiles = (p.n + tile - 1) / tile;
  return tiles == 0 && p.row_sums != nullptr ? 1 : tiles;
}

// Queues the product. All outputs are written, zero sizes included (no inner axis: sums of zero).
void gemm(LaunchCall &call, const GemmArgs &args);

// The pieces gemm chooses from.
void gemm_f32(LaunchCall &call, const GemmParams &params, Activation activation);
// Operands in bf16 as gemm_pack leaves them; activations only where both are K-major.
void gemm_bf16(LaunchCall &call, const GemmParams &params, Activation activation);
bool gemm_bf16_sm90_fits(const GemmParams &params, Activation activation);
void gemm_bf16_sm90(LaunchCall &call, const GemmParams &params, Activation activation);
// The operand as bf16 with one stride 1 and rows on 16-byte lines: itself, or a copy in the workspace. `rows`: its M or N;
// `consecutive_rows`: these must be consecutive, not k.
GemmOperand gemm_pack(LaunchCall &call, const GemmOperand &operand, const GemmParams &shape, int64_t rows,
                      bool consecutive_rows);
// Adds the parts in order and finishes the outputs.
void gemm_reduce(LaunchCall &call, const GemmParams &params, Activation activation);

}  // namespace wm::cuda
