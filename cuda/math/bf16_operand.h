// Operands of the tensor-core tiers: bf16 values that begin on a 16-byte line.
#pragma once

#include "cuda/core/op.h"

namespace wm::cuda {

// x [n] in bf16 on a 16-byte line: itself, or a copy in the workspace where it is f32 or begins elsewhere.
const void *bf16_operand(LaunchCall &call, const void *x, DType dtype, int64_t n);

// An f32 value is the sum of three bf16, high + middle + low. The product of two such sums, without its parts below 2^-24, is
// one product of bf16 over a k six times as long, which bf16 units do faster than FMA units do the f32 product:
//   left  = high high   high middle middle low
//   right = high middle low  high   middle high
constexpr int64_t kSplitPieces = 6;
enum class SplitSide { left, right };

// x [outer, n] -> to [outer, 6, n] (=).
void bf16_split(LaunchCall &call, const float *x, int64_t outer, int64_t n, SplitSide side, bf16 *to);

}  // namespace wm::cuda
