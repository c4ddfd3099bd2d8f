// Row loops of the window compositor and the running best on 8 f32 lanes. Tails run through the same
// operations under a mask: a pixel's bits must not depend on where a tile puts it.
#include "native/cpu/window/merge_rows.h"

#if defined(__AVX2__)
#include "native/cpu/simd/vmath_avx2.h"

namespace wm {

namespace {

constexpr float kLog2e = 1.44269504088896340736f;

inline __m256i tail_mask(int64_t left) {
  const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(left >= 8 ? 8 : static_cast<int>(left)), lanes);
}

// Lanes of one block of 8. Masked stores are slow on some processors, so whole blocks go without.
struct Block {
  __m256i mask;
  bool whole;
  explicit Block(int64_t left) : mask(tail_mask(left)), whole(left >= 8) {}
};

inline __m256 load(const float *p, const Block &b) {
  return b.whole ? _mm256_loadu_ps(p) : _mm256_maskload_ps(p, b.mask);
}
inline void store(float *p, const Block &b, __m256 value) {
  if (b.whole)
    _mm256_storeu_ps(p, value);
  else
    _mm256_maskstore_ps(p, b.mask, value);
}
inline __m256 lerp(__m256 a, __m256 b, __m256 t) { return _mm256_fmadd_ps(t, _mm256_sub_ps(b, a), a); }
// Lanes of `yes` where the mask's sign is set, else of `no`.
inline __m256 pick(__m256 mask, __m256 yes, __m256 no) { return _mm256_blendv_ps(no, yes, mask); }

// 8 output columns. Neighbouring outputs read neighbouring sources: mostly one register holds them all.
inline __m256 lerp_block(const float *src, ColumnTaps taps, int64_t i, int64_t left, const Block &block) {
  const __m256i low = _mm256_maskload_epi32(taps.low + i, block.mask);
  const __m256i high = _mm256_maskload_epi32(taps.high + i, block.mask);
  const __m256 fraction = load(taps.fraction + i, block);
  const int32_t base = taps.low[i];
  if (taps.high[i + (left >= 8 ? 7 : left - 1)] - base < 8) {
    const __m256 values = _mm256_loadu_ps(src + base);
    const __m256i origin = _mm256_set1_epi32(base);
    return lerp(_mm256_permutevar8x32_ps(values, _mm256_sub_epi32(low, origin)),
                _mm256_permutevar8x32_ps(values, _mm256_sub_epi32(high, origin)), fraction);
  }
  const __m256 zero = _mm256_setzero_ps(), lanes = _mm256_castsi256_ps(block.mask);
  return lerp(_mm256_mask_i32gather_ps(zero, src, low, lanes, 4),
              _mm256_mask_i32gather_ps(zero, src, high, lanes, 4), fraction);
}

void lerp_columns(const float *src, ColumnTaps taps, int64_t n, float *dst) {
  for (int64_t i = 0; i < n; i += 8) {
    const Block block(n - i);
    store(dst + i, block, lerp_block(src, taps, i, n - i, block));
  }
}

void lerp_rows(const float *top, const float *bottom, float fy, int64_t n, float *dst) {
  for (int64_t i = 0; i < n; i += 8) {
    const Block block(n - i);
    store(dst + i, block, lerp(load(top + i, block), load(bottom + i, block), set256(fy)));
  }
}

void window_row(const float *top, const float *bottom, float fy, int64_t width, ColumnTaps taps, int64_t n,
                float *scratch, float *dst) {
  lerp_rows(top, bottom, fy, width, scratch);
  for (int64_t i = 0; i < n; i += 8) {
    const Block block(n - i);
    store(dst + i, block, _mm256_add_ps(load(dst + i, block), lerp_block(scratch, taps, i, n - i, block)));
  }
}

void divide_row(float *row, const float *count, int64_t n) {
  for (int64_t i = 0; i < n; i += 8) {
    const Block block(n - i);
    store(row + i, block, _mm256_div_ps(load(row + i, block), load(count + i, block)));
  }
}

struct Lanes {
  __m256 best, sum, peak, label, second, moment;
};

// e^(-scale * distance to the running maximum) serves both cases: it rescales the old sum or is the new term.
inline void update_sum(Lanes &s, __m256 x, __m256 scale, __m256 scale2, bool moment) {
  const __m256 distance = abs256(_mm256_sub_ps(x, s.peak));
  const __m256 higher = _mm256_cmp_ps(x, s.peak, _CMP_GT_OQ);
  const __m256 zero = _mm256_setzero_ps(), one = set256(1.0f);
  const __m256 e = exp2_256(_mm256_sub_ps(zero, _mm256_mul_ps(distance, scale2)));
  if (moment) {
    // exp(-200) is 0 in f32 anyway; the bound keeps 0 * infinity out of the first step.
    const __m256 t = _mm256_min_ps(_mm256_mul_ps(distance, scale), set256(200.0f));
    const __m256 factor = pick(higher, _mm256_fnmadd_ps(t, s.sum, s.moment), _mm256_sub_ps(zero, t));
    s.moment = _mm256_fmadd_ps(factor, e, pick(higher, zero, s.moment));
  }
  s.sum = _mm256_fmadd_ps(pick(higher, s.sum, one), e, pick(higher, one, s.sum));
  s.peak = _mm256_max_ps(x, s.peak);
}

inline void update_best(Lanes &s, __m256 x, __m256 label, bool second) {
  const __m256 other = _mm256_cmp_ps(s.label, label, _CMP_NEQ_UQ);
  const __m256 above = _mm256_cmp_ps(x, s.best, _CMP_GT_OQ);
  const __m256 tie =
      _mm256_and_ps(_mm256_cmp_ps(x, s.best, _CMP_EQ_OQ), _mm256_cmp_ps(label, s.label, _CMP_LT_OQ));
  if (second) s.second = pick(other, _mm256_max_ps(_mm256_min_ps(x, s.best), s.second), s.second);
  s.best = _mm256_max_ps(x, s.best);
  s.label = pick(_mm256_and_ps(other, _mm256_or_ps(above, tie)), label, s.label);
}

void score_row(ScoreRow row, const float *const *logits, const int32_t *labels, int64_t count, float scale,
               ScorePlanes planes, int64_t n) {
  const __m256 scale1 = set256(scale), scale2 = set256(scale * kLog2e), zero = _mm256_setzero_ps();
  for (int64_t i = 0; i < n; i += 8) {
    const Block block(n - i);
    Lanes s{load(row.best + i, block), zero, zero, load(row.label + i, block), zero, zero};
    if (planes.sum) s.sum = load(row.sum + i, block);
    if (planes.sum) s.peak = load(row.peak + i, block);
    if (planes.second) s.second = load(row.second + i, block);
    if (planes.moment) s.moment = load(row.moment + i, block);
    for (int64_t k = 0; k < count; ++k) {
      const __m256 x = load(logits[k] + i, block);
      if (planes.sum) update_sum(s, x, scale1, scale2, planes.moment);
      if (labels[k] >= 0) update_best(s, x, set256(static_cast<float>(labels[k])), planes.second);
    }
    store(row.best + i, block, s.best);
    store(row.label + i, block, s.label);
    if (planes.sum) store(row.sum + i, block, s.sum);
    if (planes.sum) store(row.peak + i, block, s.peak);
    if (planes.second) store(row.second + i, block, s.second);
    if (planes.moment) store(row.moment + i, block, s.moment);
  }
}

void max_row(const float *x, int64_t n, float *peak) {
  for (int64_t i = 0; i < n; i += 8) {
    const Block block(n - i);
    store(peak + i, block, _mm256_max_ps(load(x + i, block), load(peak + i, block)));
  }
}

void exp_row(const float *x, const float *peak, float scale, int64_t n, float *sum, float *best) {
  const __m256 scale2 = set256(scale * kLog2e);
  for (int64_t i = 0; i < n; i += 8) {
    const Block block(n - i);
    const __m256 d = _mm256_sub_ps(load(x + i, block), load(peak + i, block));
    const __m256 e = exp2_256(_mm256_mul_ps(d, scale2));
    store(sum + i, block, _mm256_add_ps(load(sum + i, block), e));
    if (best != nullptr) store(best + i, block, _mm256_max_ps(e, load(best + i, block)));
  }
}

}  // namespace

const MergeKernels &merge_kernels_avx2() {
  static constexpr MergeKernels kernels{window_row, lerp_columns, lerp_rows, divide_row,
                                        score_row,  max_row,      exp_row};
  return kernels;
}

}  // namespace wm
#endif
