// Convolutions as f32 products whose picture operand is looked up (tier T1): out[p, n] = bias[n] + sum over taps and channels
// of source[gather(p, tap), c] weight[n, tap, c]. Serves conv2d and conv2d_bwd_input. Expected limiter: the FMA units.
#include "cuda/math/conv_gather.cuh"
#include "cuda/math/rows.cuh"
#include "cuda/math/tile_f32.cuh"

namespace wm::cuda {

namespace {

// Rows are pixels of the result, k runs over (tap, channel).
template <class Shape, class T>
class PictureLoad {
 public:
  static constexpr bool kAlongK = true;

  __device__ PictureLoad(const ConvTerms &terms, int64_t row0, bool whole)
      : gather_(terms.gather), source_(static_cast<const T *>(terms.source)),
        pixel_(terms.gather, row0 + TilePlace<Shape, true>::row(), terms.pixels), whole_(whole) {}

  __device__ __forceinline__ void load(int64_t step, int64_t end, float (&v)[kTileLoads]) const {
    const auto k = static_cast<uint32_t>(step) + TilePlace<Shape, true>::k();
    const auto channels = static_cast<uint32_t>(gather_.channels);
#pragma unroll
    for (float &value : v) value = 0.0f;
    if (whole_) {  // runs of four channels stay within a tap
      if (k >= end) return;
      const int64_t at = pixel_.at(gather_, static_cast<int>(k / channels));
      if (at >= 0) load_values(source_ + at + k % channels, true, v);
      return;
    }
#pragma unroll
    for (uint32_t i = 0; i < kTileLoads; ++i) {
      if (k + i >= end) break;
      const int64_t at = pixel_.at(gather_, static_cast<int>((k + i) / channels));
      if (at >= 0) v[i] = to_float(source_[at + (k + i) % channels]);
    }
  }

 private:
  const ConvGather &gather_;
  const T *source_;
  ConvPixel pixel_;
  bool whole_;
};

// Rows are channels of the result, k is consecutive.
template <class Shape, class T>
class WeightLoad {
 public:
  static constexpr bool kAlongK = true;

  __device__ WeightLoad(const ConvTerms &terms, int64_t row0, bool whole) : whole_(whole) {
    const int64_t row = row0 + TilePlace<Shape, true>::row();
    row_ = row < terms.n ? static_cast<const T *>(terms.weight) + row * terms.k() : nullptr;
  }

  __device__ __forceinline__ void load(int64_t step, int64_t end, float (&v)[kTileLoads]) const {
    const int64_t k = step + TilePlace<Shape, true>::k();
#pragma unroll
    for (float &value : v) value = 0.0f;
    if (row_ == nullptr) return;
    if (whole_) {
      if (k < end) load_values(row_ + k, true, v);
      return;
    }
#pragma unroll
    for (int i = 0; i < kTileLoads; ++i) {
      if (k + i < end) v[i] = to_float(row_[k + i]);
    }
  }

 private:
  const T *row_;
  bool whole_;
};

// A tile of 16 kSide pixels and channels a block of 256 threads; shared memory 2 kDepth (2 kWidth) floats (17 KiB at most).
// out (=).
template <int kSide, class S, class W, class Out>
__global__ void __launch_bounds__(kTileThreads, 2) conv_f32_kernel(ConvTerms terms, unsigned tiles_n, bool whole) {
  using Shape = TileShape<kSide>;
  __shared__ TileShared<Shape> shared;
  const int64_t row0 = static_cast<int64_t>(blockIdx.x / tiles_n) * Shape::kTile;
  const int64_t column0 = static_cast<int64_t>(blockIdx.x % tiles_n) * Shape::kTile;
  PictureLoad<Shape, S> a(terms, row0, whole);
  WeightLoad<Shape, W> b(terms, column0, whole);
  float sum[kSide][kSide] = {};
  tile_product<Shape>(a, b, 0, terms.k(), shared, sum);
  const int tx = static_cast<int>(threadIdx.x) % 16, ty = static_cast<int>(threadIdx.x) / 16;
  const auto *bias = static_cast<const W *>(terms.bias);
#pragma unroll
  for (int r = 0; r < kSide; ++r) {
    const int64_t row = row0 + tile_index(ty, r);
    if (row >= terms.pixels) continue;
    Out *out = static_cast<Out *>(terms.out) + row * terms.n;
#pragma unroll
    for (int c = 0; c < kSide; ++c) {
      const int64_t column = column0 + tile_index(tx, c);
      if (column < terms.n) out[column] = from_float<Out>(sum[r][c] + (bias != nullptr ? to_float(bias[column]) : 0.0f));
    }
  }
}

template <class S, class W, class Out>
void launch(LaunchCall &call, const ConvTerms &terms) {
  const bool whole = terms.gather.channels % kTileLoads == 0 && aligned16(terms.source) && aligned16(terms.weight);
  // Large tiles where they fill a device a few times over; a sum's order does not depend on them.
  const auto launch_tiles = [&](auto side) {
    constexpr int kSide = decltype(side)::value, kTile = TileShape<kSide>::kTile;
    const unsigned tiles_n = blocks_for(terms.n, kTile);
    const unsigned blocks = blocks_for((terms.pixels + kTile - 1) / kTile * tiles_n, 1);
    WM_LAUNCH((conv_f32_kernel<kSide, S, W, Out>), dim3(blocks), dim3(kTileThreads), 0, call.stream(), terms, tiles_n,
              whole);
  };
  const int64_t large = (terms.pixels + 127) / 128 * ((terms.n + 127) / 128);
  if (large >= 256) launch_tiles(std::integral_constant<int, 8>{});
  else launch_tiles(std::integral_constant<int, 4>{});
}

}  // namespace

void conv_f32(LaunchCall &call, const ConvTerms &terms, DType source, DType weight, DType out) {
  const bool narrow = weight == DType::bf16;
  if (!narrow) return launch<float, float, float>(call, terms);
  if (source == DType::f32) return launch<float, bf16, bf16>(call, terms);
  if (out == DType::f32) return launch<bf16, bf16, float>(call, terms);
  launch<bf16, bf16, bf16>(call, terms);
}

}  // namespace wm::cuda
