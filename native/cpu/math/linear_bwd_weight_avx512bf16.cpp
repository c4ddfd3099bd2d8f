// linear_bwd_weight for the AVX-512 bf16 dot product: 8 x 48 tiles of the gradient in registers, two rows a step.
#include <immintrin.h>

#include "native/cpu/math/linear_bwd_weight.h"

namespace wm {

namespace {

inline __m512bh as_pairs(__m512i x) { return reinterpret_cast<__m512bh>(x); }

inline __mmask32 first32(int64_t n) { return n >= 32 ? ~__mmask32{0} : static_cast<__mmask32>((uint32_t{1} << n) - 1u); }

void pair_rows(const bf16 *src, int64_t stride, int64_t rows, int64_t columns, int64_t width, uint32_t *pairs) {
  // Word w of the result: column w / 2 of the first row where w is even, of the second where it is odd.
  alignas(64) uint16_t low_index[32], high_index[32];
  for (int w = 0; w < 32; ++w) {
    low_index[w] = static_cast<uint16_t>(w / 2 + (w % 2) * 32);
    high_index[w] = static_cast<uint16_t>(16 + w / 2 + (w % 2) * 32);
  }
  const __m512i low = _mm512_load_si512(low_index), high = _mm512_load_si512(high_index);
  for (int64_t r = 0; r < rows; r += 2) {
    const bf16 *first = src + r * stride;
    uint32_t *to = pairs + r / 2 * width;
    for (int64_t c = 0; c < columns; c += 32) {
      const __mmask32 mask = first32(columns - c);
      const __m512i a = _mm512_maskz_loadu_epi16(mask, first + c);
      const __m512i b = r + 1 < rows ? _mm512_maskz_loadu_epi16(mask, first + stride + c) : _mm512_setzero_si512();
      _mm512_storeu_si512(to + c, _mm512_permutex2var_epi16(a, low, b));
      if (c + 16 < columns) _mm512_storeu_si512(to + c + 16, _mm512_permutex2var_epi16(a, high, b));
    }
  }
}

template <int kRows, int kVectors>
void tile(const uint32_t *left, int64_t left_width, const uint32_t *right, int64_t right_width, int64_t pairs,
          float *sums, int64_t stride) {
  __m512 sum[kRows][kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 3
    for (int v = 0; v < kVectors; ++v) sum[r][v] = _mm512_loadu_ps(sums + r * stride + 16 * v);
  }
  for (int64_t i = 0; i < pairs; ++i) {
    __m512bh columns[kVectors];
#pragma GCC unroll 3
    for (int v = 0; v < kVectors; ++v) columns[v] = as_pairs(_mm512_loadu_si512(right + 16 * v));
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const __m512bh row = as_pairs(_mm512_set1_epi32(static_cast<int>(left[r])));
#pragma GCC unroll 3
      for (int v = 0; v < kVectors; ++v) sum[r][v] = _mm512_dpbf16_ps(sum[r][v], row, columns[v]);
    }
    left += left_width;
    right += right_width;
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 3
    for (int v = 0; v < kVectors; ++v) _mm512_storeu_ps(sums + r * stride + 16 * v, sum[r][v]);
  }
}

template <int kRows>
void tile_of(int vectors, const uint32_t *left, int64_t left_width, const uint32_t *right, int64_t right_width,
             int64_t pairs, float *sums, int64_t stride) {
  if (vectors == 3) return tile<kRows, 3>(left, left_width, right, right_width, pairs, sums, stride);
  if (vectors == 2) return tile<kRows, 2>(left, left_width, right, right_width, pairs, sums, stride);
  tile<kRows, 1>(left, left_width, right, right_width, pairs, sums, stride);
}

void multiply(const uint32_t *left, int64_t left_width, int64_t a_count, const uint32_t *right, int64_t right_width,
              int64_t b_count, int64_t pairs, float *sums, int64_t stride) {
  for (int64_t b = 0; b < b_count; b += 48) {
    const int vectors = static_cast<int>(((b_count - b < 48 ? b_count - b : 48) + 15) / 16);
    int64_t a = 0;
    for (; a + 8 <= a_count; a += 8) {
      tile_of<8>(vectors, left + a, left_width, right + b, right_width, pairs, sums + a * stride + b, stride);
    }
    for (; a < a_count; ++a) {
      tile_of<1>(vectors, left + a, left_width, right + b, right_width, pairs, sums + a * stride + b, stride);
    }
  }
}

// Several columns at once hide the latency of the sum.
template <int kVectors>
void add_vectors(const uint32_t *pairs, int64_t width, int64_t count, float *sums) {
  const __m512bh ones = as_pairs(_mm512_set1_epi32(0x3f803f80));
  __m512 sum[kVectors];
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v) sum[v] = _mm512_loadu_ps(sums + 16 * v);
  for (int64_t i = 0; i < count; ++i) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      sum[v] = _mm512_dpbf16_ps(sum[v], as_pairs(_mm512_loadu_si512(pairs + i * width + 16 * v)), ones);
    }
  }
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v) _mm512_storeu_ps(sums + 16 * v, sum[v]);
}

void add_columns(const uint32_t *pairs, int64_t width, int64_t columns, int64_t count, float *sums) {
  int64_t c = 0;
  for (; c + 128 <= columns; c += 128) add_vectors<8>(pairs + c, width, count, sums + c);
  for (; c < columns; c += 16) add_vectors<1>(pairs + c, width, count, sums + c);
}

}  // namespace

const WeightGradKernels &weight_grad_kernels_avx512bf16() {
  static const WeightGradKernels table = {pair_rows, multiply, add_columns};
  return table;
}

}  // namespace wm
