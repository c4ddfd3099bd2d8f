// GEMM micro-kernel for AVX2: 6 rows by 16 columns, 12 accumulators; and the packing of rows with consecutive
// k into panels by 8x8 transposes, which the AVX-512 tiers use too.
#include <immintrin.h>

#include "native/cpu/math/gemm_kernels.h"
#include "native/cpu/simd/vmath_avx2.h"

namespace wm {

namespace {

constexpr int kPanelRows = 6;
constexpr int kPanelCols = 16;
constexpr int kPrefetchBytes = 12 * kPanelCols * 4;

template <int kRows>
void tile_f32(int64_t k, const float *a, const float *b, float *sums, int64_t stride, Ahead ahead) {
  __m256 sum[kRows][2];
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) sum[r][0] = sum[r][1] = _mm256_setzero_ps();
  for (int64_t i = 0; i < k; ++i) {
    const __m256 left = _mm256_loadu_ps(b);
    const __m256 right = _mm256_loadu_ps(b + 8);
    _mm_prefetch(reinterpret_cast<const char *>(b) + kPrefetchBytes, _MM_HINT_T0);
    _mm_prefetch(ahead.from, _MM_HINT_T1);
    ahead.from += ahead.step;
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
      const __m256 row = _mm256_broadcast_ss(a + r);
      sum[r][0] = _mm256_fmadd_ps(row, left, sum[r][0]);
      sum[r][1] = _mm256_fmadd_ps(row, right, sum[r][1]);
    }
    a += kPanelRows;
    b += kPanelCols;
  }
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) {
    _mm256_storeu_ps(sums + r * stride, sum[r][0]);
    _mm256_storeu_ps(sums + r * stride + 8, sum[r][1]);
  }
}

void tile_f32_any(int rows, int, int64_t k, const float *a, const float *b, float *sums, int64_t stride,
                  Ahead ahead) {
  switch (rows) {
    case 1: return tile_f32<1>(k, a, b, sums, stride, ahead);
    case 2: return tile_f32<2>(k, a, b, sums, stride, ahead);
    case 3: return tile_f32<3>(k, a, b, sums, stride, ahead);
    case 4: return tile_f32<4>(k, a, b, sums, stride, ahead);
    case 5: return tile_f32<5>(k, a, b, sums, stride, ahead);
    default: return tile_f32<6>(k, a, b, sums, stride, ahead);
  }
}

void accumulate(const float *tile, int rows, int cols, float *partial, int64_t partial_stride) {
  for (int r = 0; r < rows; ++r) {
    // Partial rows are padded to whole vectors, so no mask is needed.
    for (int c = 0; c < cols; c += 8) {
      const __m256 x = _mm256_loadu_ps(tile + r * kPanelCols + c);
      float *at = partial + r * partial_stride + c;
      _mm256_storeu_ps(at, _mm256_add_ps(_mm256_loadu_ps(at), x));
    }
  }
}

// ---- epilogue: full vectors go through registers, a ragged end through an 8-element buffer.

inline __m256 widen_bf16(__m128i half) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
}

// Round to nearest even, NaN made quiet; the result sits in the low half of each lane.
inline __m256i round_bf16(__m256 x) {
  const __m256i bits = _mm256_castps_si256(x);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
  const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
  const __m256 nan = _mm256_cmp_ps(x, x, _CMP_UNORD_Q);
  const __m256 picked = _mm256_blendv_ps(_mm256_castsi256_ps(rounded), _mm256_castsi256_ps(quiet), nan);
  return _mm256_srli_epi32(_mm256_castps_si256(picked), 16);
}

inline __m256 load_f32(const float *p, int count) {
  if (count >= 8) return _mm256_loadu_ps(p);
  float buffer[8] = {};
  for (int i = 0; i < count; ++i) buffer[i] = p[i];
  return _mm256_loadu_ps(buffer);
}

inline __m256 load_bf16(const uint16_t *p, int count) {
  uint16_t buffer[8] = {};
  if (count >= 8) return widen_bf16(_mm_loadu_si128(reinterpret_cast<const __m128i *>(p)));
  for (int i = 0; i < count; ++i) buffer[i] = p[i];
  return widen_bf16(_mm_loadu_si128(reinterpret_cast<const __m128i *>(buffer)));
}

inline void store_f32(float *p, int count, __m256 x) {
  if (count >= 8) return _mm256_storeu_ps(p, x);
  float buffer[8];
  _mm256_storeu_ps(buffer, x);
  for (int i = 0; i < count; ++i) p[i] = buffer[i];
}

inline void store_bf16(uint16_t *p, int count, __m256 x) {
  const __m256i rounded = round_bf16(x);
  const __m128i half =
      _mm_packus_epi32(_mm256_castsi256_si128(rounded), _mm256_extracti128_si256(rounded, 1));
  if (count >= 8) return _mm_storeu_si128(reinterpret_cast<__m128i *>(p), half);
  uint16_t buffer[8];
  _mm_storeu_si128(reinterpret_cast<__m128i *>(buffer), half);
  for (int i = 0; i < count; ++i) p[i] = buffer[i];
}

inline __m256 activate(Activation activation, __m256 x) {
  switch (activation) {
    case Activation::quick_gelu: return quick_gelu256(x);
    case Activation::gelu: return gelu256(x);
    case Activation::relu: return _mm256_max_ps(_mm256_setzero_ps(), x);
    case Activation::gelu_tanh: return gelu_tanh256(x);
    default: return x;
  }
}

inline void store(void *to, bool narrow, int64_t at, int count, __m256 x) {
  if (narrow) store_bf16(static_cast<uint16_t *>(to) + at, count, x);
  else store_f32(static_cast<float *>(to) + at, count, x);
}

void finish(const float *tile, const TileOutput &o) {
  const __m256 scale = _mm256_set1_ps(o.scale);
  for (int c = 0; c < o.cols; c += 8) {
    const int left = o.cols - c;
    const __m256 factor = o.column_scale ? _mm256_mul_ps(scale, load_f32(o.column_scale + c, left)) : scale;
    const __m256 bias = o.bias ? load_f32(o.bias + c, left) : _mm256_setzero_ps();
    for (int r = 0; r < o.rows; ++r) {
      __m256 x = _mm256_loadu_ps(tile + r * kPanelCols + c);
      if (o.partial) x = _mm256_add_ps(_mm256_loadu_ps(o.partial + r * o.partial_stride + c), x);
      x = _mm256_fmadd_ps(x, factor, bias);
      const int64_t to = r * o.out_stride + c;
      if (o.gate) {
        x = _mm256_mul_ps(x, o.gate_bf16 ? load_bf16(static_cast<const uint16_t *>(o.gate) + to, left)
                                         : load_f32(static_cast<const float *>(o.gate) + to, left));
      }
      if (o.slope) store(o.slope, o.out_bf16, to, left, x);
      x = activate(o.activation, x);
      if (o.residual) {
        const int64_t at = r * o.residual_stride + c;
        x = _mm256_add_ps(x, o.residual_bf16 ? load_bf16(static_cast<const uint16_t *>(o.residual) + at, left)
                                             : load_f32(static_cast<const float *>(o.residual) + at, left));
      }
      store(o.out, o.out_bf16, to, left, x);
    }
  }
}

// ---- packing. A unit is what one 32-bit panel element holds: one k (f32) or two (pairs).

inline void transpose8(__m256 (&x)[8]) {
  __m256 t[8], u[8];
#pragma GCC unroll 4
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_ps(x[i], x[i + 1]);
    t[i + 1] = _mm256_unpackhi_ps(x[i], x[i + 1]);
  }
#pragma GCC unroll 2
  for (int i = 0; i < 8; i += 4) {
    u[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
    u[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
    u[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
    u[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    x[i] = _mm256_permute2f128_ps(u[i], u[i + 4], 0x20);
    x[i + 4] = _mm256_permute2f128_ps(u[i], u[i + 4], 0x31);
  }
}

struct F32FromF32 {
  using Source = float;
  using Unit = float;
  static constexpr int kPerUnit = 1;
  static __m256 load(const float *p) { return _mm256_loadu_ps(p); }
  static float one(const float *p, int64_t) { return *p; }
};

struct F32FromBf16 {
  using Source = bf16;
  using Unit = float;
  static constexpr int kPerUnit = 1;
  static __m256 load(const bf16 *p) {
    return widen_bf16(_mm_loadu_si128(reinterpret_cast<const __m128i *>(p)));
  }
  static float one(const bf16 *p, int64_t) {
    const uint32_t bits = static_cast<uint32_t>(p->bits) << 16;
    float x;
    __builtin_memcpy(&x, &bits, 4);
    return x;
  }
};

struct PairsFromBf16 {
  using Source = bf16;
  using Unit = uint32_t;
  static constexpr int kPerUnit = 2;
  static __m256 load(const bf16 *p) { return _mm256_loadu_ps(reinterpret_cast<const float *>(p)); }
  static uint32_t one(const bf16 *p, int64_t left) {
    return p[0].bits | (left > 1 ? static_cast<uint32_t>(p[1].bits) << 16 : 0u);
  }
};

struct PairsFromF32 {
  using Source = float;
  using Unit = uint32_t;
  static constexpr int kPerUnit = 2;
  static __m256 load(const float *p) {
    const __m256i both =
        _mm256_packus_epi32(round_bf16(_mm256_loadu_ps(p)), round_bf16(_mm256_loadu_ps(p + 8)));
    return _mm256_castsi256_ps(_mm256_permute4x64_epi64(both, 0xd8));
  }
  static uint32_t one(const float *p, int64_t left) {
    const uint32_t low = static_cast<uint32_t>(_mm256_extract_epi32(round_bf16(_mm256_set1_ps(p[0])), 0));
    if (left < 2) return low;
    return low | static_cast<uint32_t>(_mm256_extract_epi32(round_bf16(_mm256_set1_ps(p[1])), 0)) << 16;
  }
};

// Eight rows (those beyond `rows` are zero) of units [begin, end) to panel[unit * width + 0..7].
template <class Format>
void pack_eight(const typename Format::Source *src, int64_t stride, int rows, int width, int64_t k,
                int64_t begin, int64_t end, typename Format::Unit *panel) {
  constexpr int kPer = Format::kPerUnit;
  int64_t unit = begin;
  for (; unit + 8 <= end && (unit + 8) * kPer <= k; unit += 8) {
    __m256 x[8];
#pragma GCC unroll 8
    for (int r = 0; r < 8; ++r) {
      x[r] = r < rows ? Format::load(src + r * stride + unit * kPer) : _mm256_setzero_ps();
    }
    transpose8(x);
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) _mm256_storeu_ps(reinterpret_cast<float *>(panel + (unit + i) * width), x[i]);
  }
  const int stored = width < 8 ? width : 8;
  for (; unit < end; ++unit) {
    for (int r = 0; r < stored; ++r) {
      panel[unit * width + r] =
          r < rows ? Format::one(src + r * stride + unit * kPer, k - unit * kPer) : typename Format::Unit{};
    }
  }
}

template <class Format>
void pack(const typename Format::Source *src, int64_t stride, int rows, int width, int64_t k,
          typename Format::Unit *panel) {
  // Short runs of k keep the part of a wide panel that is being written in the first cache level.
  constexpr int64_t kRun = 64;
  const int64_t units = (k + Format::kPerUnit - 1) / Format::kPerUnit;
  for (int64_t begin = 0; begin < units; begin += kRun) {
    const int64_t end = begin + kRun < units ? begin + kRun : units;
    for (int r = 0; r < width; r += 8) {
      pack_eight<Format>(src + r * stride, stride, rows - r, width, k, begin, end, panel + r);
    }
  }
}

}  // namespace

const GemmKernels &gemm_kernels_avx2() {
  static const GemmKernels table = {kPanelRows,         kPanelCols,
                                    tile_f32_any,       nullptr,
                                    nullptr,            nullptr,
                                    accumulate,         finish,
                                    false,              pack<F32FromF32>,
                                    pack<F32FromBf16>,  pack<PairsFromF32>,
                                    pack<PairsFromBf16>};
  return table;
}

}  // namespace wm
