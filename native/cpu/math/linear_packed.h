// Header in front of the panels of a packed weight, so that a buffer of another tier, shape or kind is
// refused.
#pragma once

#include <cstdint>

namespace wm {

struct PackedLinearHeader {
  char magic[8];      // "WMPACK1"
  int32_t tile_cols;  // panel width of the tier that packed it
  int32_t bf16;       // 1: pairs of bf16, 0: f32
  int64_t n, k;
  int64_t bytes;      // header and panels
  char reserved[24];  // the panels start on a cache line
};
static_assert(sizeof(PackedLinearHeader) == 64, "packed panels must start on a cache line");

constexpr char kPackedMagic[8] = "WMPACK1";

}  // namespace wm
