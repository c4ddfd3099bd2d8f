#include "native/cpu/attention/attention_pack.h"

#include <cstring>
#include <type_traits>

namespace wm {
namespace attention {

namespace {

// Rows [i0, i0 + rows) x [0, d) with the element conversion In -> Op; padding up to ldd is zero.
template <class In, class Op>
void copy_rows(const HeadView &x, int64_t i0, int64_t rows, int64_t d, Op *dst, int64_t ldd) {
  const In *src = static_cast<const In *>(x.data) + x.offset + i0 * x.row;
  for (int64_t i = 0; i < rows; ++i, src += x.row, dst += ldd) {
    if constexpr (std::is_same_v<In, Op>) {
      if (x.column == 1) {
        std::memcpy(dst, src, static_cast<size_t>(d) * sizeof(Op));
      } else {
        for (int64_t c = 0; c < d; ++c) dst[c] = src[c * x.column];
      }
    } else {
      for (int64_t c = 0; c < d; ++c) dst[c] = static_cast<Op>(to_float(src[c * x.column]));
    }
    if (ldd > d) std::memset(dst + d, 0, static_cast<size_t>(ldd - d) * sizeof(Op));
  }
}

template <class Op>
void copy_any(const HeadView &x, int64_t i0, int64_t rows, int64_t d, Op *dst, int64_t ldd) {
  if constexpr (sizeof(Op) == 2) {
    copy_rows<bf16, bf16>(x, i0, rows, d, dst, ldd);  // this table is chosen for bf16 tensors alone
  } else {
    switch (x.dtype) {
      case DType::f64: return copy_rows<double>(x, i0, rows, d, dst, ldd);
      case DType::bf16: return copy_rows<bf16>(x, i0, rows, d, dst, ldd);
      case DType::f16: return copy_rows<f16>(x, i0, rows, d, dst, ldd);
      default: return copy_rows<float>(x, i0, rows, d, dst, ldd);
    }
  }
}

constexpr int64_t kBlock = 64;       // tokens a transposition step
constexpr int64_t kMaxDepth = 1024;  // elements of its staging row

// Two adjacent rows interleaved column by column: the pair form of a panel row, one 4-byte word a column.
inline void interleave(const uint16_t *__restrict even, const uint16_t *__restrict odd, int64_t n, uint32_t *__restrict dst) {
  for (int64_t c = 0; c < n; ++c) dst[c] = even[c] | static_cast<uint32_t>(odd[c]) << 16;
}

inline void interleave(const bf16 *even, const bf16 *odd, int64_t n, bf16 *dst) {
  static_assert(sizeof(bf16) == 2, "a pair is one word");
  interleave(reinterpret_cast<const uint16_t *>(even), reinterpret_cast<const uint16_t *>(odd), n, reinterpret_cast<uint32_t *>(dst));
}

// Rows [i0, i0 + rows) of `real` columns as the pair panel of `width` columns.
void pair_panel(const HeadView &x, int64_t i0, int64_t rows, int64_t real, int64_t width, bf16 *panel) {
  const bf16 *src = static_cast<const bf16 *>(x.data) + x.offset;
  const bool direct = x.column == 1 && real == width;
  alignas(64) bf16 pair[2][64], none[64] = {};
  for (int64_t i = 0; i < rows; i += 2, panel += 2 * width) {
    const bool whole = i + 1 < rows;
    if (direct) {
      interleave(src + (i0 + i) * x.row, whole ? src + (i0 + i + 1) * x.row : none, width, panel);
      continue;
    }
    copy_rows<bf16>(x, i0 + i, 1, real, pair[0], width);
    if (whole) copy_rows<bf16>(x, i0 + i + 1, 1, real, pair[1], width);
    interleave(pair[0], whole ? pair[1] : none, width, panel);
  }
}

}  // namespace

template <class T, class Op>
void pack_rows(const Kernels<T, Op> &, const HeadView &x, int64_t i0, int64_t rows, int64_t d, Op *dst) {
  copy_any<Op>(x, i0, rows, d, dst, padded_depth<Op>(d));
}

template <class T, class Op>
void pack_transposed(const Kernels<T, Op> &loops, const HeadView &x, int64_t tokens, int64_t d, Op *dst) {
  // Word: what moves as a unit. A bf16 pair (d, d + 1) of a token is one 4-byte word.
  constexpr int64_t kElements = sizeof(T) / sizeof(Op);
  const int64_t depth = padded_depth<Op>(d), padded = round_up(tokens, loops.lanes);
  const int64_t part = depth < kMaxDepth ? depth : kMaxDepth;
  alignas(64) Op staging[kBlock / 4 * kMaxDepth];
  const bool direct = sizeof(T) == sizeof(Op) && x.column == 1 &&
                      x.dtype == (sizeof(T) == 8 ? DType::f64 : DType::f32);
  for (int64_t t0 = 0; t0 < padded; t0 += loops.panel) {
    const int64_t width = padded - t0 < loops.panel ? padded - t0 : loops.panel;
    T *panel = reinterpret_cast<T *>(dst) + t0 * (depth / kElements);
    for (int64_t c0 = 0; c0 < depth; c0 += part) {
      const int64_t columns = depth - c0 < part ? depth - c0 : part;
      const int64_t real = d - c0 < columns ? d - c0 : columns;
      for (int64_t i = 0; i < width; i += kBlock / 4) {
        int64_t rows = tokens - t0 - i < kBlock / 4 ? tokens - t0 - i : kBlock / 4;
        if (rows > width - i) rows = width - i;
        if (rows < 0) rows = 0;
        T *out = panel + (c0 / kElements) * width + i;
        if (direct) {
          const T *src = static_cast<const T *>(x.data) + x.offset + (t0 + i) * x.row + c0;
          loops.transpose(src, x.row, rows, columns, out, width);
        } else {
          HeadView shifted = x;
          shifted.offset += c0 * x.column;
          copy_any<Op>(shifted, t0 + i, rows, real, staging, columns);
          loops.transpose(reinterpret_cast<const T *>(staging), columns / kElements, rows, columns / kElements, out, width);
        }
        const int64_t span = width - i < kBlock / 4 ? width - i : kBlock / 4;
        for (int64_t r = 0; rows < span && r < columns / kElements; ++r) {
          for (int64_t c = rows; c < span; ++c) out[r * width + c] = 0;
        }
      }
    }
  }
}

template <class T, class Op>
void pack_panels(const Kernels<T, Op> &loops, const HeadView &x, int64_t i0, int64_t rows, int64_t d, Op *dst) {
  const int64_t padded = round_up(d, loops.lanes), depth = padded_depth<Op>(rows);
  for (int64_t c0 = 0; c0 < padded; c0 += loops.panel) {
    const int64_t width = padded - c0 < loops.panel ? padded - c0 : loops.panel;
    const int64_t real = d - c0 < width ? d - c0 : width;
    HeadView part = x;
    part.offset += c0 * x.column;
    Op *panel = dst + c0 * depth;
    if constexpr (sizeof(Op) == 2) {
      pair_panel(part, i0, rows, real, width, panel);
    } else {
      copy_any<Op>(part, i0, rows, real, panel, width);
    }
  }
}

#define WM_INSTANTIATE(T, Op)                                                                                     \
  template void pack_rows(const Kernels<T, Op> &, const HeadView &, int64_t, int64_t, int64_t, Op *);             \
  template void pack_transposed(const Kernels<T, Op> &, const HeadView &, int64_t, int64_t, Op *);                \
  template void pack_panels(const Kernels<T, Op> &, const HeadView &, int64_t, int64_t, int64_t, Op *);
WM_INSTANTIATE(float, float)
WM_INSTANTIATE(double, double)
WM_INSTANTIATE(float, bf16)
#undef WM_INSTANTIATE

}  // namespace attention
}  // namespace wm
