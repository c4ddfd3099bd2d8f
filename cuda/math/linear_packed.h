// The layout of a packed weight on the device, shared by pack_linear and linear_packed. Its size is the card's
// (lib/engine/ops/math/pack_linear.ts) on every back end; launchers cannot read device memory, so the size alone tells what
// a buffer holds.
#pragma once

#include "cuda/core/op.h"

namespace wm::cuda {

constexpr int64_t kPackedHeader = 64;

// Bytes of a weight [n, k]: columns in whole panels of 48, bf16 in pairs along k.
inline int64_t packed_linear_bytes(int64_t n, int64_t k, bool bf16) {
  if (n == 0 || k == 0) return 0;
  return kPackedHeader + (n + 47) / 48 * 48 * (bf16 ? (k + 1) / 2 : k) * 4;
}

}  // namespace wm::cuda
