// GEMM micro-kernel for the AVX-512 bf16 dot product: the tile of gemm_avx512.cpp, two k a step. Each lane
// adds the product of the second element of a pair, then that of the first, in f32.
#include <immintrin.h>

#include <cstring>

#include "native/cpu/math/gemm_finish_avx512.h"
#include "native/cpu/math/gemm_kernels.h"
#include "native/cpu/math/gemm_tile_avx512.h"

namespace wm {

namespace {

inline __m512bh as_pairs(__m512i x) { return reinterpret_cast<__m512bh>(x); }

// Where the pairs of A lie: in a panel, one k of all rows together, or in the rows of the matrix itself.
struct PackedRows {
  const uint32_t *a;
  int pair(int r) const { return static_cast<int>(a[r]); }
  void next() { a += kPanelRows; }
};
struct RowsInPlace {
  const bf16 *a;
  int64_t stride;
  int pair(int r) const {
    int bits;
    std::memcpy(&bits, a + r * stride, sizeof bits);
    return bits;
  }
  void next() { a += 2; }
};

template <int kRows, int kVectors, class Rows>
void tile_pairs(int64_t pairs, Rows a, const uint32_t *b, float *sums, int64_t stride, Ahead ahead) {
  __m512 sum[kRows][kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 3
    for (int v = 0; v < kVectors; ++v) sum[r][v] = _mm512_setzero_ps();
  }
  for (int64_t i = 0; i < pairs; ++i) {
    _mm_prefetch(ahead.from, _MM_HINT_T1);
    ahead.from += ahead.step;
    __m512bh columns[kVectors];
#pragma GCC unroll 3
    for (int v = 0; v < kVectors; ++v) {
      columns[v] = as_pairs(_mm512_loadu_si512(b + 16 * v));
      _mm_prefetch(reinterpret_cast<const char *>(b + 16 * v) + kPrefetchBytes, _MM_HINT_T0);
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const __m512bh row = as_pairs(_mm512_set1_epi32(a.pair(r)));
#pragma GCC unroll 3
      for (int v = 0; v < kVectors; ++v) sum[r][v] = _mm512_dpbf16_ps(sum[r][v], row, columns[v]);
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
void tile_pairs_rows(int vectors, int64_t pairs, Rows a, const uint32_t *b, float *sums, int64_t stride, Ahead ahead) {
  if (vectors == 3) return tile_pairs<kRows, 3>(pairs, a, b, sums, stride, ahead);
  if (vectors == 2) return tile_pairs<kRows, 2>(pairs, a, b, sums, stride, ahead);
  tile_pairs<kRows, 1>(pairs, a, b, sums, stride, ahead);
}

template <class Rows>
void tile_pairs_any(int rows, int cols, int64_t pairs, Rows a, const uint32_t *b, float *sums, int64_t stride,
                    Ahead ahead) {
  const int vectors = (cols + 15) / 16;
  switch (rows) {
    case 1: return tile_pairs_rows<1>(vectors, pairs, a, b, sums, stride, ahead);
    case 2: return tile_pairs_rows<2>(vectors, pairs, a, b, sums, stride, ahead);
    case 3: return tile_pairs_rows<3>(vectors, pairs, a, b, sums, stride, ahead);
    case 4: return tile_pairs_rows<4>(vectors, pairs, a, b, sums, stride, ahead);
    case 5: return tile_pairs_rows<5>(vectors, pairs, a, b, sums, stride, ahead);
    case 6: return tile_pairs_rows<6>(vectors, pairs, a, b, sums, stride, ahead);
    case 7: return tile_pairs_rows<7>(vectors, pairs, a, b, sums, stride, ahead);
    default: return tile_pairs_rows<8>(vectors, pairs, a, b, sums, stride, ahead);
  }
}

void tile_packed(int rows, int cols, int64_t pairs, const uint32_t *a, const uint32_t *b, float *sums, int64_t stride,
                 Ahead ahead) {
  tile_pairs_any(rows, cols, pairs, PackedRows{a}, b, sums, stride, ahead);
}

void tile_in_place(int rows, int cols, int64_t pairs, const bf16 *a, int64_t a_stride, const uint32_t *b, float *sums,
                   int64_t stride, Ahead ahead) {
  tile_pairs_any(rows, cols, pairs, RowsInPlace{a, a_stride}, b, sums, stride, ahead);
}

// The instruction rounds to nearest even; it takes subnormal numbers for zero, which no sum of products misses.
struct NarrowByInstruction {
  static __m256i narrow(__m512 x) { return reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x)); }
};

}  // namespace

const GemmKernels &gemm_kernels_avx512bf16() {
  static const GemmKernels table = [] {
    GemmKernels t = gemm_kernels_avx512();
    t.tile_pairs = tile_packed;
    t.tile_pairs_in_place = tile_in_place;
    t.finish = finish_any<NarrowByInstruction>;
    return t;
  }();
  return table;
}

}  // namespace wm
