// AVX2 loops of Pillow's resizing. A 22-bit weight does not fit the 16-bit multiply-add, so it is cut into
// high * 2^11 + low with low >= 0; both sums are exact in 32 bits, and so is the recombined one.
#include "native/cpu/image/resize_pil.h"

#if defined(__AVX2__)
#include <immintrin.h>

namespace wm {

namespace {

inline __m256i combine(__m256i high, __m256i low) {
  const __m256i sum = _mm256_add_epi32(_mm256_slli_epi32(high, 11), low);
  return _mm256_srai_epi32(_mm256_add_epi32(sum, _mm256_set1_epi32(1 << 21)), 22);
}

// Four pixels a step: bytes r0 r1 g0 g1 b0 b1 - - | r2 r3 g2 g3 b2 b3 - -, weights w0 w1 three times | w2 w3
// three times.
void rgb_row(const uint8_t *src, const PilWindow *windows, const int16_t *high, const int16_t *low,
             int64_t stride, int64_t out, uint8_t *dst) {
  const __m128i pixels = _mm_setr_epi8(0, 3, 1, 4, 2, 5, -1, -1, 6, 9, 7, 10, 8, 11, -1, -1);
  const __m256i pairs = _mm256_setr_epi8(0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, -1, -1, -1, -1,  //
                                         4, 5, 6, 7, 4, 5, 6, 7, 4, 5, 6, 7, -1, -1, -1, -1);
  for (int64_t i = 0; i < out; ++i) {
    const uint8_t *from = src + 3 * static_cast<int64_t>(windows[i].first);
    const int32_t count = windows[i].count;
    __m256i sum_high = _mm256_setzero_si256(), sum_low = _mm256_setzero_si256();
    for (int32_t k = 0; k < count; k += 4) {
      const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i *>(from + 3 * k));
      const __m256i words = _mm256_cvtepu8_epi16(_mm_shuffle_epi8(bytes, pixels));
      long long h, l;
      __builtin_memcpy(&h, high + i * stride + k, 8);
      __builtin_memcpy(&l, low + i * stride + k, 8);
      sum_high = _mm256_add_epi32(
          sum_high, _mm256_madd_epi16(words, _mm256_shuffle_epi8(_mm256_set1_epi64x(h), pairs)));
      sum_low = _mm256_add_epi32(sum_low,
                                 _mm256_madd_epi16(words, _mm256_shuffle_epi8(_mm256_set1_epi64x(l), pairs)));
    }
    const __m128i h4 = _mm_add_epi32(_mm256_castsi256_si128(sum_high), _mm256_extracti128_si256(sum_high, 1));
    const __m128i l4 = _mm_add_epi32(_mm256_castsi256_si128(sum_low), _mm256_extracti128_si256(sum_low, 1));
    __m128i value = _mm_add_epi32(_mm_add_epi32(_mm_slli_epi32(h4, 11), l4), _mm_set1_epi32(1 << 21));
    value = _mm_packs_epi32(_mm_srai_epi32(value, 22), value);
    value = _mm_packus_epi16(value, value);
    const int rgb = _mm_cvtsi128_si32(value);
    dst[3 * i] = static_cast<uint8_t>(rgb & 255);
    dst[3 * i + 1] = static_cast<uint8_t>((rgb >> 8) & 255);
    dst[3 * i + 2] = static_cast<uint8_t>((rgb >> 16) & 255);
  }
}

inline void column_tail(const uint8_t *src, int64_t pitch, int32_t count, const int16_t *high,
                        const int16_t *low, int64_t begin, int64_t n, uint8_t *dst) {
  for (int64_t i = begin; i < n; ++i) {
    int32_t sum = 1 << 21;
    for (int32_t k = 0; k < count; ++k) sum += src[k * pitch + i] * (high[k] * 2048 + low[k]);
    sum >>= 22;
    dst[i] = static_cast<uint8_t>(sum < 0 ? 0 : sum > 255 ? 255 : sum);
  }
}

void column(const uint8_t *src, int64_t pitch, int32_t count, const int16_t *high, const int16_t *low,
            int64_t n, uint8_t *dst) {
  const __m256i zero = _mm256_setzero_si256();
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    __m256i h0 = zero, h1 = zero, l0 = zero, l1 = zero;
    for (int32_t k = 0; k < count; k += 2) {
      // An odd count has a zero weight behind it; its row may not exist, so the last row stands in.
      const uint8_t *first = src + k * pitch + i;
      const uint8_t *second = k + 1 < count ? first + pitch : first;
      const __m128i a = _mm_loadu_si128(reinterpret_cast<const __m128i *>(first));
      const __m128i b = _mm_loadu_si128(reinterpret_cast<const __m128i *>(second));
      const __m256i p0 = _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(a, b));
      const __m256i p1 = _mm256_cvtepu8_epi16(_mm_unpackhi_epi8(a, b));
      int32_t hk, lk;
      __builtin_memcpy(&hk, high + k, 4);
      __builtin_memcpy(&lk, low + k, 4);
      const __m256i wh = _mm256_set1_epi32(hk), wl = _mm256_set1_epi32(lk);
      h0 = _mm256_add_epi32(h0, _mm256_madd_epi16(p0, wh));
      h1 = _mm256_add_epi32(h1, _mm256_madd_epi16(p1, wh));
      l0 = _mm256_add_epi32(l0, _mm256_madd_epi16(p0, wl));
      l1 = _mm256_add_epi32(l1, _mm256_madd_epi16(p1, wl));
    }
    // cvtepu8 keeps the order within a half, so the two halves follow each other after one cross-lane
    // permute.
    const __m256i words =
        _mm256_permute4x64_epi64(_mm256_packs_epi32(combine(h0, l0), combine(h1, l1)), 0xd8);
    const __m128i bytes = _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i *>(dst + i), bytes);
  }
  column_tail(src, pitch, count, high, low, i, n, dst);
}

}  // namespace

const PilKernels &pil_kernels_avx2() {
  static constexpr PilKernels kernels{rgb_row, column};
  return kernels;
}

}  // namespace wm
#endif
