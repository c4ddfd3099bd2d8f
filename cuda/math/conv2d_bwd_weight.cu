// conv2d_bwd_weight(x [B, H, W, C], dy [B, H', W', O]; stride, padding, kernelHeight, kernelWidth) -> dweight
// [O, C, kh, kw] = sum over output pixels of dy[o] x[c] under each tap.
//
// One product with pixels as k: rows are (tap, channel), looked up in the pictures; columns the channels of dy. k is cut into
// parts by its length and the weight's size; the parts are added in order while the result [tap, C, O] is turned. Expected
// limiter: the FMA units, the tensor cores where x is bf16 (conv2d_mma.cu).
#include "cuda/math/conv2d_bwd_weight.h"

#include <algorithm>

#include "cuda/math/bf16_operand.h"
#include "cuda/math/conv_gather.cuh"
#include "cuda/math/rows.cuh"
#include "cuda/math/tile_f32.cuh"

namespace wm::cuda {

namespace {

// Rows (tap, channel) of the pictures under the pixels k.
template <class Shape, class T>
class TapLoad {
 public:
  static constexpr bool kAlongK = false;

  __device__ TapLoad(const ConvWeightTerms &terms, int64_t row0, bool whole) : terms_(terms), whole_(whole) {
    row_ = static_cast<uint32_t>(row0) + TilePlace<Shape, false>::row();
    rows_ = static_cast<uint32_t>(terms.gather.taps) * static_cast<uint32_t>(terms.gather.channels);
  }

  __device__ __forceinline__ void load(int64_t step, int64_t end, float (&v)[kTileLoads]) const {
    const int64_t k = step + TilePlace<Shape, false>::k();
    const auto channels = static_cast<uint32_t>(terms_.gather.channels);
    const auto *x = static_cast<const T *>(terms_.x);
#pragma unroll
    for (float &value : v) value = 0.0f;
    if (k >= end) return;
    const ConvPixel pixel(terms_.gather, k, terms_.pixels);
    if (whole_) {  // runs of four channels stay within a tap
      if (row_ >= rows_) return;
      const int64_t at = pixel.at(terms_.gather, static_cast<int>(row_ / channels));
      if (at >= 0) load_values(x + at + row_ % channels, true, v);
      return;
    }
#pragma unroll
    for (uint32_t i = 0; i < kTileLoads; ++i) {
      if (row_ + i >= rows_) break;
      const int64_t at = pixel.at(terms_.gather, static_cast<int>((row_ + i) / channels));
      if (at >= 0) v[i] = to_float(x[at + (row_ + i) % channels]);
    }
  }

 private:
  const ConvWeightTerms &terms_;
  uint32_t row_, rows_;
  bool whole_;
};

// Rows are channels of dy.
template <class Shape, class T>
class GradientLoad {
 public:
  static constexpr bool kAlongK = false;

  __device__ GradientLoad(const ConvWeightTerms &terms, int64_t row0, bool whole)
      : dy_(static_cast<const T *>(terms.dy)), n_(terms.n), row_(row0 + TilePlace<Shape, false>::row()), whole_(whole) {}

  __device__ __forceinline__ void load(int64_t step, int64_t end, float (&v)[kTileLoads]) const {
    const int64_t k = step + TilePlace<Shape, false>::k();
#pragma unroll
    for (float &value : v) value = 0.0f;
    if (k >= end) return;
    if (whole_) {
      if (row_ < n_) load_values(dy_ + k * n_ + row_, true, v);
      return;
    }
#pragma unroll
    for (int i = 0; i < kTileLoads; ++i) {
      if (row_ + i < n_) v[i] = to_float(dy_[k * n_ + row_ + i]);
    }
  }

 private:
  const T *dy_;
  int64_t n_, row_;
  bool whole_;
};

// One tile of 16 kSide (tap, channel) rows and columns of dy, and one part of the pixels, a block of 256 threads; 17 KiB
// shared at most. sums [parts, rows, n] (=).
template <int kSide, class X, class D>
__global__ void __launch_bounds__(kTileThreads, 2)
conv_weight_f32_kernel(ConvWeightTerms terms, unsigned tiles_n, unsigned tiles, bool whole_x, bool whole_dy) {
  using Shape = TileShape<kSide>;
  __shared__ TileShared<Shape> shared;
  const unsigned tile = blockIdx.x % tiles, part = blockIdx.x / tiles;
  const int64_t row0 = static_cast<int64_t>(tile / tiles_n) * Shape::kTile;
  const int64_t column0 = static_cast<int64_t>(tile % tiles_n) * Shape::kTile;
  TapLoad<Shape, X> a(terms, row0, whole_x);
  GradientLoad<Shape, D> b(terms, column0, whole_dy);
  float sum[kSide][kSide] = {};
  const int64_t begin = part * terms.part_pixels;
  tile_product<Shape>(a, b, begin, min(begin + terms.part_pixels, terms.pixels), shared, sum);
  const int tx = static_cast<int>(threadIdx.x) % 16, ty = static_cast<int>(threadIdx.x) / 16;
  const int64_t rows = static_cast<int64_t>(terms.gather.taps) * terms.gather.channels;
#pragma unroll
  for (int r = 0; r < kSide; ++r) {
    const int64_t row = row0 + tile_index(ty, r);
    if (row >= rows) continue;
    float *out = terms.sums + (part * rows + row) * terms.n;
#pragma unroll
    for (int c = 0; c < kSide; ++c) {
      const int64_t column = column0 + tile_index(tx, c);
      if (column < terms.n) out[column] = sum[r][c];
    }
  }
}

template <class X, class D>
void launch_f32(LaunchCall &call, const ConvWeightTerms &terms) {
  const int64_t rows = static_cast<int64_t>(terms.gather.taps) * terms.gather.channels;
  const bool whole_x = terms.gather.channels % kTileLoads == 0 && aligned16(terms.x);
  const bool whole_dy = terms.n % kTileLoads == 0 && aligned16(terms.dy);
  const auto launch = [&](auto side) {
    constexpr int kSide = decltype(side)::value, kTile = TileShape<kSide>::kTile;
    const unsigned tiles_n = blocks_for(terms.n, kTile);
    const unsigned tiles = blocks_for((rows + kTile - 1) / kTile * tiles_n, 1);
    WM_LAUNCH((conv_weight_f32_kernel<kSide, X, D>), dim3(blocks_for(tiles * terms.parts, 1)), dim3(kTileThreads), 0,
              call.stream(), terms, tiles_n, tiles, whole_x, whole_dy);
  };
  const int64_t large = (rows + 127) / 128 * ((terms.n + 127) / 128) * terms.parts;
  if (large >= 128) launch(std::integral_constant<int, 8>{});
  else launch(std::integral_constant<int, 4>{});
}

// sums [parts, taps, channels, n] -> dweight [n, channels, taps] (=), parts added in order. A block has 32 outputs of n and 8
// channels: reads are whole lines, a thread writes the run of taps. No shared memory.
template <class T>
__global__ void __launch_bounds__(256)
turn_kernel(const float *sums, T *to, int64_t parts, int64_t n, int64_t channels, int taps, unsigned tiles_n) {
  const int64_t o = static_cast<int64_t>(blockIdx.x % tiles_n) * 32 + threadIdx.x;
  const int64_t c = static_cast<int64_t>(blockIdx.x / tiles_n) * 8 + threadIdx.y;
  if (o >= n || c >= channels) return;
  for (int t = 0; t < taps; ++t) {
    const float *from = sums + (t * channels + c) * n + o;
    float sum = from[0];
    for (int64_t p = 1; p < parts; ++p) sum += from[p * taps * channels * n];
    to[(o * channels + c) * taps + t] = from_float<T>(sum);
  }
}

template <class T>
void turn(LaunchCall &call, const ConvWeightTerms &terms, T *to) {
  const unsigned tiles_n = blocks_for(terms.n, 32);
  WM_LAUNCH((turn_kernel<T>), dim3(blocks_for((terms.gather.channels + 7) / 8 * static_cast<int64_t>(tiles_n), 1)),
            dim3(32, 8), 0, call.stream(), static_cast<const float *>(terms.sums), to, terms.parts, terms.n,
            static_cast<int64_t>(terms.gather.channels), terms.gather.taps, tiles_n);
}

bool narrow_float(DType t) { return t == DType::f32 || t == DType::bf16; }

// At least 2048 pixels a part, and no more sums than 32 MiB beside those of the weight itself.
void cut_pixels(ConvWeightTerms &terms, int64_t elements) {
  const int64_t most = std::max<int64_t>(1, (int64_t{1} << 23) / elements);
  const int64_t parts = std::clamp<int64_t>(terms.pixels / 2048, 1, std::min<int64_t>(most, 64));
  constexpr int64_t kUnit = 64;
  terms.part_pixels = std::max<int64_t>(kUnit, ((terms.pixels + parts - 1) / parts + kUnit - 1) / kUnit * kUnit);
  terms.parts = std::max<int64_t>(1, (terms.pixels + terms.part_pixels - 1) / terms.part_pixels);
}

void conv2d_bwd_weight(LaunchCall &call) {
  const TensorView &x = call.in(0), &dy = call.in(1), &out = call.out(0);
  if (x.ndim != 4 || dy.ndim != 4 || x.dim(0) != dy.dim(0))
    call.reject("x must be [B, H, W, C] and dy [B, H', W', O]");
  const ConvProblem p = conv_problem(call, x.dim(0), x.dim(1), x.dim(2), x.dim(3), dy.dim(3), call.attr_int(2),
                                     call.attr_int(3), call.attr_int(0), call.attr_int(1));
  if (dy.dim(1) != p.out_h || dy.dim(2) != p.out_w || out.dtype != x.dtype ||
      out.numel() != p.outputs * p.channels * p.taps())
    call.reject("dy or the output do not fit");
  if (!narrow_float(x.dtype) || !narrow_float(dy.dtype) || (x.dtype == DType::f32 && dy.dtype != DType::f32))
    call.reject("takes f32 or bf16 on this device, dy in x's dtype or f32");
  if (out.numel() == 0) return;
  ConvWeightTerms terms;
  terms.gather = {static_cast<int>(p.height), static_cast<int>(p.width), static_cast<int>(p.channels),
                  static_cast<int>(p.out_h), static_cast<int>(p.out_w), static_cast<int>(p.kernel_w),
                  static_cast<int>(p.taps()), static_cast<int>(p.stride), 1, -static_cast<int>(p.padding), 1};
  terms.x = x.data;
  terms.dy = dy.data;
  terms.pixels = p.batch * p.out_pixels();
  terms.n = p.outputs;
  cut_pixels(terms, out.numel());
  terms.sums = call.workspace<float>(terms.parts * out.numel());
  // The tier follows from dtype and channels alone.
  if (call.tier() >= 2 && x.dtype == DType::bf16 && p.channels % 8 == 0 && p.outputs % 8 == 0) {
    terms.x = bf16_operand(call, x.data, x.dtype, x.numel());
    terms.dy = bf16_operand(call, dy.data, dy.dtype, dy.numel());
    conv_weight_mma(call, terms);
  } else if (x.dtype == DType::f32) launch_f32<float, float>(call, terms);
  else if (dy.dtype == DType::f32) launch_f32<bf16, float>(call, terms);
  else launch_f32<bf16, bf16>(call, terms);
  if (out.dtype == DType::bf16) turn(call, terms, out.as<bf16>());
  else turn(call, terms, out.as<float>());
}

}  // namespace

WM_REGISTER_CUDA_OP(conv2d_bwd_weight, conv2d_bwd_weight, kContiguous)

}  // namespace wm::cuda
