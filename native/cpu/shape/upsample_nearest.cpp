// upsample_nearest(x [B, H, W, C]; factor) -> [B, fH, fW, C], each pixel repeated; upsample_nearest_bwd(dy; factor) ->
// [B, H, W, C], the sum over each f x f block, row by row.
#include <algorithm>
#include <cstring>

#include "native/core/op.h"
#include "native/core/shape_checks.h"

namespace wm {

namespace {

int64_t row_grain(const UpsampleMaps &m) {
  return std::max<int64_t>(1, 16384 / std::max<int64_t>(1, m.width * m.channels * m.factor * m.factor));
}

void upsample_nearest(OpCall &call) {
  const UpsampleMaps m = read_upsample(call, call.in(0), call.out(0));
  const auto pixel = static_cast<size_t>(m.channels) * dtype_size(call.in(0).dtype);
  const auto *from = call.in(0).as<uint8_t>();
  auto *to = call.out(0).as<uint8_t>();
  call.parallel(m.batch * m.height, row_grain(m), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const size_t line = pixel * static_cast<size_t>(m.width * m.factor);
      uint8_t *first = to + static_cast<size_t>(r * m.factor) * line;
      for (int64_t x = 0; x < m.width; ++x) {
        const uint8_t *source = from + static_cast<size_t>(r * m.width + x) * pixel;
        for (int64_t i = 0; i < m.factor; ++i)
          std::memcpy(first + static_cast<size_t>(x * m.factor + i) * pixel, source, pixel);
      }
      for (int64_t i = 1; i < m.factor; ++i) std::memcpy(first + static_cast<size_t>(i) * line, first, line);
    }
  });
}

void upsample_nearest_bwd(OpCall &call) {
  const UpsampleMaps m = read_upsample(call, call.out(0), call.in(0));
  dispatch_float(call, call.in(0).dtype, [&](auto zero) {
    using T = decltype(zero);
    using C = decltype(to_float(zero));
    const T *dy = call.in(0).as<T>();
    T *dx = call.out(0).as<T>();
    const int64_t line = m.width * m.factor * m.channels;
    call.parallel(m.batch * m.height, row_grain(m), [&](int64_t begin, int64_t end) {
      for (int64_t at = begin * m.width; at < end * m.width; ++at) {
        const T *block = dy + at / m.width * m.factor * line + at % m.width * m.factor * m.channels;
        for (int64_t c = 0; c < m.channels; ++c) {
          C sum = 0;
          for (int64_t i = 0; i < m.factor; ++i) {
            for (int64_t j = 0; j < m.factor; ++j) sum += to_float(block[i * line + j * m.channels + c]);
          }
          dx[at * m.channels + c] = from_float<T>(sum);
        }
      }
    });
  });
}

}  // namespace

WM_REGISTER_CPU_OP(upsample_nearest, upsample_nearest, kContiguous)
WM_REGISTER_CPU_OP(upsample_nearest_bwd, upsample_nearest_bwd, kContiguous)

}  // namespace wm
