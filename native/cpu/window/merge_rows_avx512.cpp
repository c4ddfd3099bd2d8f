// Row loops of the window compositor and the running best on 16 f32 lanes.
#include "native/cpu/window/merge_rows.h"

#if defined(__AVX512F__)
#include "native/cpu/simd/vmath_avx512.h"

namespace wm {

namespace {

constexpr float kLog2e = 1.44269504088896340736f;

inline __mmask16 tail_mask(int64_t left) {
  return left >= 16 ? static_cast<__mmask16>(0xffff) : static_cast<__mmask16>((1u << left) - 1u);
}

inline __m512 lerp(__m512 a, __m512 b, __m512 t) { return _mm512_fmadd_ps(t, _mm512_sub_ps(b, a), a); }

// 16 output columns. Neighbouring outputs read neighbouring sources, so one or two registers hold them all.
inline __m512 lerp_block(const float *src, ColumnTaps taps, int64_t i, int64_t left) {
  const __mmask16 mask = tail_mask(left);
  const __m512i low = _mm512_maskz_loadu_epi32(mask, taps.low + i);
  const __m512i high = _mm512_maskz_loadu_epi32(mask, taps.high + i);
  const __m512 fraction = _mm512_maskz_loadu_ps(mask, taps.fraction + i);
  const int32_t base = taps.low[i];
  const int32_t span = taps.high[i + (left >= 16 ? 15 : left - 1)] - base;
  const __m512i origin = _mm512_set1_epi32(base);
  const __m512i low_lane = _mm512_sub_epi32(low, origin), high_lane = _mm512_sub_epi32(high, origin);
  if (span < 16) {
    const __m512 values = _mm512_loadu_ps(src + base);
    return lerp(_mm512_permutexvar_ps(low_lane, values), _mm512_permutexvar_ps(high_lane, values), fraction);
  }
  if (span < 32) {
    const __m512 v0 = _mm512_loadu_ps(src + base), v1 = _mm512_loadu_ps(src + base + 16);
    return lerp(_mm512_permutex2var_ps(v0, low_lane, v1), _mm512_permutex2var_ps(v0, high_lane, v1),
                fraction);
  }
  const __m512 zero = _mm512_setzero_ps();
  return lerp(_mm512_mask_i32gather_ps(zero, mask, low, src, 4),
              _mm512_mask_i32gather_ps(zero, mask, high, src, 4), fraction);
}

void lerp_columns(const float *src, ColumnTaps taps, int64_t n, float *dst) {
  for (int64_t i = 0; i < n; i += 16) {
    _mm512_mask_storeu_ps(dst + i, tail_mask(n - i), lerp_block(src, taps, i, n - i));
  }
}

void lerp_rows(const float *top, const float *bottom, float fy, int64_t n, float *dst) {
  const __m512 t = set512(fy);
  for (int64_t i = 0; i < n; i += 16) {
    const __mmask16 mask = tail_mask(n - i);
    const __m512 a = _mm512_maskz_loadu_ps(mask, top + i), b = _mm512_maskz_loadu_ps(mask, bottom + i);
    _mm512_mask_storeu_ps(dst + i, mask, lerp(a, b, t));
  }
}

inline void add_block(float *dst, int64_t left, __m512 value) {
  const __mmask16 mask = tail_mask(left);
  _mm512_mask_storeu_ps(dst, mask, _mm512_add_ps(_mm512_maskz_loadu_ps(mask, dst), value));
}

// Patch grids up to 16 wide stay in a register together with the differences of neighbours; the last one is
// 0.
void narrow_window_row(__m512 row, int64_t width, ColumnTaps taps, int64_t n, float *dst) {
  const __m512i next =
      _mm512_min_epi32(_mm512_setr_epi32(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16),
                       _mm512_set1_epi32(static_cast<int>(width) - 1));
  const __m512 step = _mm512_sub_ps(_mm512_permutexvar_ps(next, row), row);
  for (int64_t i = 0; i < n; i += 16) {
    const __mmask16 mask = tail_mask(n - i);
    const __m512i low = _mm512_maskz_loadu_epi32(mask, taps.low + i);
    const __m512 fraction = _mm512_maskz_loadu_ps(mask, taps.fraction + i);
    add_block(dst + i, n - i,
              _mm512_fmadd_ps(fraction, _mm512_permutexvar_ps(low, step), _mm512_permutexvar_ps(low, row)));
  }
}

void window_row(const float *top, const float *bottom, float fy, int64_t width, ColumnTaps taps, int64_t n,
                float *scratch, float *dst) {
  if (width <= 16) {
    const __mmask16 mask = tail_mask(width);
    const __m512 row =
        lerp(_mm512_maskz_loadu_ps(mask, top), _mm512_maskz_loadu_ps(mask, bottom), set512(fy));
    return narrow_window_row(row, width, taps, n, dst);
  }
  lerp_rows(top, bottom, fy, width, scratch);
  for (int64_t i = 0; i < n; i += 16) add_block(dst + i, n - i, lerp_block(scratch, taps, i, n - i));
}

void divide_row(float *row, const float *count, int64_t n) {
  for (int64_t i = 0; i < n; i += 16) {
    const __mmask16 mask = tail_mask(n - i);
    const __m512 value = _mm512_maskz_div_ps(mask, _mm512_maskz_loadu_ps(mask, row + i),
                                             _mm512_maskz_loadu_ps(mask, count + i));
    _mm512_mask_storeu_ps(row + i, mask, value);
  }
}

struct Lanes {
  __m512 best, sum, peak, label, second, moment;
};

// e^(-scale * distance to the running maximum) serves both cases: it rescales the old sum or is the new term.
template <bool kMoment>
inline void update_sum(Lanes &s, __m512 x, __m512 scale, __m512 scale2) {
  const __m512 distance = abs512(_mm512_sub_ps(x, s.peak));
  const __mmask16 higher = _mm512_cmp_ps_mask(x, s.peak, _CMP_GT_OQ);
  const __m512 e = exp2_512(_mm512_sub_ps(_mm512_setzero_ps(), _mm512_mul_ps(distance, scale2)));
  if (kMoment) {
    // exp(-200) is 0 in f32 anyway; the bound keeps 0 * infinity out of the first step.
    const __m512 t = _mm512_min_ps(_mm512_mul_ps(distance, scale), set512(200.0f));
    const __m512 factor = _mm512_mask_sub_ps(_mm512_fnmadd_ps(t, s.sum, s.moment),
                                             static_cast<__mmask16>(~higher), _mm512_setzero_ps(), t);
    s.moment = _mm512_fmadd_ps(factor, e, _mm512_maskz_mov_ps(static_cast<__mmask16>(~higher), s.moment));
  }
  const __m512 one = set512(1.0f);
  const __m512 factor = _mm512_mask_mov_ps(one, higher, s.sum);
  s.sum = _mm512_fmadd_ps(factor, e, _mm512_mask_mov_ps(s.sum, higher, one));
  s.peak = _mm512_max_ps(x, s.peak);
}

template <bool kSecond>
inline void update_best(Lanes &s, __m512 x, __m512 label) {
  const __mmask16 other = _mm512_cmp_ps_mask(s.label, label, _CMP_NEQ_UQ);
  const __mmask16 above = _mm512_cmp_ps_mask(x, s.best, _CMP_GT_OQ);
  const __mmask16 tie =
      _mm512_mask_cmp_ps_mask(_mm512_cmp_ps_mask(x, s.best, _CMP_EQ_OQ), label, s.label, _CMP_LT_OQ);
  if (kSecond) s.second = _mm512_mask_max_ps(s.second, other, _mm512_min_ps(x, s.best), s.second);
  s.best = _mm512_max_ps(x, s.best);
  s.label = _mm512_mask_mov_ps(s.label, static_cast<__mmask16>(other & (above | tie)), label);
}

template <bool kSum, bool kSecond, bool kMoment>
void score_lanes(const ScoreRow &row, const float *const *logits, const int32_t *labels, int64_t count,
                 float scale, int64_t n) {
  const __m512 scale1 = set512(scale), scale2 = set512(scale * kLog2e);
  for (int64_t i = 0; i < n; i += 16) {
    const __mmask16 mask = tail_mask(n - i);
    Lanes s{_mm512_maskz_loadu_ps(mask, row.best + i),  _mm512_setzero_ps(), _mm512_setzero_ps(),
            _mm512_maskz_loadu_ps(mask, row.label + i), _mm512_setzero_ps(), _mm512_setzero_ps()};
    if (kSum) s.sum = _mm512_maskz_loadu_ps(mask, row.sum + i);
    if (kSum) s.peak = _mm512_maskz_loadu_ps(mask, row.peak + i);
    if (kSecond) s.second = _mm512_maskz_loadu_ps(mask, row.second + i);
    if (kMoment) s.moment = _mm512_maskz_loadu_ps(mask, row.moment + i);
    for (int64_t k = 0; k < count; ++k) {
      const __m512 x = _mm512_maskz_loadu_ps(mask, logits[k] + i);
      if (kSum) update_sum<kMoment>(s, x, scale1, scale2);
      if (labels[k] >= 0) update_best<kSecond>(s, x, set512(static_cast<float>(labels[k])));
    }
    _mm512_mask_storeu_ps(row.best + i, mask, s.best);
    _mm512_mask_storeu_ps(row.label + i, mask, s.label);
    if (kSum) _mm512_mask_storeu_ps(row.sum + i, mask, s.sum);
    if (kSum) _mm512_mask_storeu_ps(row.peak + i, mask, s.peak);
    if (kSecond) _mm512_mask_storeu_ps(row.second + i, mask, s.second);
    if (kMoment) _mm512_mask_storeu_ps(row.moment + i, mask, s.moment);
  }
}

void score_row(ScoreRow row, const float *const *logits, const int32_t *labels, int64_t count, float scale,
               ScorePlanes planes, int64_t n) {
  if (planes.moment) {
    return planes.second ? score_lanes<true, true, true>(row, logits, labels, count, scale, n)
                         : score_lanes<true, false, true>(row, logits, labels, count, scale, n);
  }
  if (planes.sum) {
    return planes.second ? score_lanes<true, true, false>(row, logits, labels, count, scale, n)
                         : score_lanes<true, false, false>(row, logits, labels, count, scale, n);
  }
  return planes.second ? score_lanes<false, true, false>(row, logits, labels, count, scale, n)
                       : score_lanes<false, false, false>(row, logits, labels, count, scale, n);
}

void max_row(const float *x, int64_t n, float *peak) {
  for (int64_t i = 0; i < n; i += 16) {
    const __mmask16 mask = tail_mask(n - i);
    const __m512 value =
        _mm512_max_ps(_mm512_maskz_loadu_ps(mask, x + i), _mm512_maskz_loadu_ps(mask, peak + i));
    _mm512_mask_storeu_ps(peak + i, mask, value);
  }
}

void exp_row(const float *x, const float *peak, float scale, int64_t n, float *sum, float *best) {
  const __m512 scale2 = set512(scale * kLog2e);
  for (int64_t i = 0; i < n; i += 16) {
    const __mmask16 mask = tail_mask(n - i);
    const __m512 d = _mm512_sub_ps(_mm512_maskz_loadu_ps(mask, x + i), _mm512_maskz_loadu_ps(mask, peak + i));
    const __m512 e = exp2_512(_mm512_mul_ps(d, scale2));
    _mm512_mask_storeu_ps(sum + i, mask, _mm512_add_ps(_mm512_maskz_loadu_ps(mask, sum + i), e));
    if (best != nullptr) {
      _mm512_mask_storeu_ps(best + i, mask, _mm512_max_ps(e, _mm512_maskz_loadu_ps(mask, best + i)));
    }
  }
}

}  // namespace

const MergeKernels &merge_kernels_avx512() {
  static constexpr MergeKernels kernels{window_row, lerp_columns, lerp_rows, divide_row,
                                        score_row,  max_row,      exp_row};
  return kernels;
}

}  // namespace wm
#endif
