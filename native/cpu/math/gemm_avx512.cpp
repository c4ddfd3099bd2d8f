// GEMM micro-kernel for AVX-512: 8 rows by 48 columns, 24 accumulators, three loads of B and eight broadcasts
// of A for 24 multiply-adds a step. Packing is shared with AVX2: it is bound by memory.
#include <immintrin.h>

#include "native/cpu/math/gemm_finish_avx512.h"
#include "native/cpu/math/gemm_kernels.h"
#include "native/cpu/math/gemm_tile_avx512.h"
#include "native/cpu/simd/vmath_avx512.h"

namespace wm {

namespace {

// Where the elements of A lie: in a panel, one k of all rows together, or in the rows of the matrix itself.
struct PackedRows {
  const float *a;
  float at(int r) const { return a[r]; }
  void next() { a += kPanelRows; }
};
struct RowsInPlace {
  const float *a;
  int64_t stride;
  float at(int r) const { return a[r * stride]; }
  void next() { ++a; }
};

template <int kRows, int kVectors, class Rows>
void tile_f32(int64_t k, Rows a, const float *b, float *sums, int64_t stride, Ahead ahead) {
  __m512 sum[kRows][kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 3
    for (int v = 0; v < kVectors; ++v) sum[r][v] = _mm512_setzero_ps();
  }
  for (int64_t i = 0; i < k; ++i) {
    _mm_prefetch(ahead.from, _MM_HINT_T1);
    ahead.from += ahead.step;
    __m512 columns[kVectors];
#pragma GCC unroll 3
    for (int v = 0; v < kVectors; ++v) {
      columns[v] = _mm512_loadu_ps(b + 16 * v);
      _mm_prefetch(reinterpret_cast<const char *>(b + 16 * v) + kPrefetchBytes, _MM_HINT_T0);
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const __m512 row = _mm512_set1_ps(a.at(r));
#pragma GCC unroll 3
      for (int v = 0; v < kVectors; ++v) sum[r][v] = _mm512_fmadd_ps(row, columns[v], sum[r][v]);
    }
    a.next();
    b += kPanelCols;
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 3
    for (int v = 0; v < kVectors; ++v) _mm512_storeu_ps(sums + r * stride + 16 * v, sum[r][v]);
  }
}

template <int kRows, class Rows>
void tile_f32_rows(int vectors, int64_t k, Rows a, const float *b, float *sums, int64_t stride, Ahead ahead) {
  if (vectors == 3) return tile_f32<kRows, 3>(k, a, b, sums, stride, ahead);
  if (vectors == 2) return tile_f32<kRows, 2>(k, a, b, sums, stride, ahead);
  tile_f32<kRows, 1>(k, a, b, sums, stride, ahead);
}

template <class Rows>
void tile_f32_any(int rows, int cols, int64_t k, Rows a, const float *b, float *sums, int64_t stride, Ahead ahead) {
  const int vectors = (cols + 15) / 16;
  switch (rows) {
    case 1: return tile_f32_rows<1>(vectors, k, a, b, sums, stride, ahead);
    case 2: return tile_f32_rows<2>(vectors, k, a, b, sums, stride, ahead);
    case 3: return tile_f32_rows<3>(vectors, k, a, b, sums, stride, ahead);
    case 4: return tile_f32_rows<4>(vectors, k, a, b, sums, stride, ahead);
    case 5: return tile_f32_rows<5>(vectors, k, a, b, sums, stride, ahead);
    case 6: return tile_f32_rows<6>(vectors, k, a, b, sums, stride, ahead);
    case 7: return tile_f32_rows<7>(vectors, k, a, b, sums, stride, ahead);
    default: return tile_f32_rows<8>(vectors, k, a, b, sums, stride, ahead);
  }
}

void tile_packed(int rows, int cols, int64_t k, const float *a, const float *b, float *sums, int64_t stride, Ahead ahead) {
  tile_f32_any(rows, cols, k, PackedRows{a}, b, sums, stride, ahead);
}

void tile_in_place(int rows, int cols, int64_t k, const float *a, int64_t a_stride, const float *b, float *sums,
                   int64_t stride, Ahead ahead) {
  tile_f32_any(rows, cols, k, RowsInPlace{a, a_stride}, b, sums, stride, ahead);
}

void accumulate(const float *tile, int rows, int cols, float *partial, int64_t partial_stride) {
  for (int r = 0; r < rows; ++r) {
    // Partial rows are padded to whole vectors, so no mask is needed.
    for (int c = 0; c < cols; c += 16) {
      const __m512 x = _mm512_loadu_ps(tile + r * kPanelCols + c);
      float *at = partial + r * partial_stride + c;
      _mm512_storeu_ps(at, _mm512_add_ps(_mm512_loadu_ps(at), x));
    }
  }
}

// Round to nearest even; NaN becomes quiet.
struct NarrowByIntegers {
  static __m256i narrow(__m512 x) {
    const __m512i bits = _mm512_castps_si512(x);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    rounded = _mm512_mask_or_epi32(rounded, nan, bits, _mm512_set1_epi32(0x400000));
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16));
  }
};

}  // namespace

const GemmKernels &gemm_kernels_avx512() {
  static const GemmKernels table = [] {
    GemmKernels t = gemm_kernels_avx2();
    t.tile_rows = kPanelRows;
    t.tile_cols = kPanelCols;
    t.tile_f32 = tile_packed;
    t.tile_f32_in_place = tile_in_place;
    t.accumulate = accumulate;
    t.finish = finish_any<NarrowByIntegers>;
    t.finish_slopes = true;
    return t;
  }();
  return table;
}

}  // namespace wm
