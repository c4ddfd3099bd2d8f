// Moving elements without looking at them: block copies.
#pragma once

#include <cstring>

#include "native/core/op.h"

namespace wm {

// Copies `rows` rows of `row_bytes` from one pitch to another, in parallel.
inline void copy_rows(const OpCall &call, const void *src, int64_t src_pitch, void *dst, int64_t dst_pitch,
                      int64_t rows, int64_t row_bytes) {
  constexpr int64_t kChunk = 128 * 1024;
  const auto *from = static_cast<const uint8_t *>(src);
  auto *to = static_cast<uint8_t *>(dst);
  if (rows <= 0 || row_bytes <= 0) return;
  if (rows == 1 || (src_pitch == row_bytes && dst_pitch == row_bytes)) {
    call.parallel(rows * row_bytes, kChunk, [&](int64_t begin, int64_t end) {
      std::memcpy(to + begin, from + begin, static_cast<size_t>(end - begin));
    });
    return;
  }
  const int64_t grain = kChunk / row_bytes;
  call.parallel(rows, grain < 1 ? 1 : grain, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      std::memcpy(to + r * dst_pitch, from + r * src_pitch, static_cast<size_t>(row_bytes));
    }
  });
}

inline void zero_bytes(const OpCall &call, void *data, int64_t bytes) {
  auto *to = static_cast<uint8_t *>(data);
  call.parallel(bytes, 256 * 1024, [&](int64_t begin, int64_t end) {
    std::memset(to + begin, 0, static_cast<size_t>(end - begin));
  });
}

}  // namespace wm
