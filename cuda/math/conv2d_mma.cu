// Convolutions by mma.sync (tier T2): the products of conv2d_f32.cu and conv2d_bwd_weight.cu on bf16 pictures whose channels
// come in eights. Chunks of eight channels go from the pictures to shared memory by cp.async, borders as zeros; nothing is
// unfolded. Expected limiter: the tensor cores (kernels.md N7).
#include "cuda/math/conv2d_bwd_weight.h"
#include "cuda/math/conv_gather.cuh"
#include "cuda/math/tile_mma.cuh"

namespace wm::cuda {

namespace {

// 128 pixels of the result, k over (tap, channel).
class PictureCopy {
 public:
  __device__ PictureCopy(const ConvTerms &terms, int64_t row0)
      : terms_(terms), pixels_{ConvPixel(terms.gather, row0 + threadIdx.x / 4, terms.pixels),
                               ConvPixel(terms.gather, row0 + threadIdx.x / 4 + 64, terms.pixels)} {}

  __device__ __forceinline__ void copy(bf16 *tile, int step) const {
    const int chunk = static_cast<int>(threadIdx.x) % 4, row = static_cast<int>(threadIdx.x) / 4;
    const uint32_t k = step * kMmaDepth + chunk * kChunk, channels = terms_.gather.channels;
    const uint32_t tap = k / channels;
    const auto *source = static_cast<const bf16 *>(terms_.source);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int64_t at = static_cast<int>(tap) < terms_.gather.taps ? pixels_[i].at(terms_.gather, static_cast<int>(tap)) : -1;
      cp_async_16(tile + chunk_along_k(row + i * 64, chunk), source + (at >= 0 ? at + (k - tap * channels) : 0), at >= 0);
    }
  }

 private:
  const ConvTerms &terms_;
  ConvPixel pixels_[2];
};

// Two neighbouring results, or one at the end of a row; `even`: both lie in one line of their size.
__device__ __forceinline__ void store_pair(float *to, float low, float high, bool pair, bool even) {
  if (pair && even) {
    *reinterpret_cast<float2 *>(to) = make_float2(low, high);
    return;
  }
  to[0] = low;
  if (pair) to[1] = high;
}
__device__ __forceinline__ void store_pair(bf16 *to, float low, float high, bool pair, bool even) {
  if (pair && even) {
    *reinterpret_cast<uint32_t *>(to) = pack_bf16(low, high);
    return;
  }
  to[0] = from_float<bf16>(low);
  if (pair) to[1] = from_float<bf16>(high);
}

// A tile of 128 pixels and 128 channels of the result a block; 256 threads, 64 KiB shared. out (=).
template <class Out>
__global__ void __launch_bounds__(kMmaThreads, 2) conv_mma_kernel(ConvTerms terms, unsigned tiles_n, bool even) {
  WM_DYNAMIC_SHARED(bf16, shared);
  const int64_t row0 = static_cast<int64_t>(blockIdx.x / tiles_n) * kMmaRows<4>;
  const int64_t column0 = static_cast<int64_t>(blockIdx.x % tiles_n) * kMmaColumns;
  PictureCopy a(terms, row0);
  MmaRowLoad<kMmaColumns> b(static_cast<const bf16 *>(terms.weight), column0, terms.n, terms.k(), terms.k());
  float sum[4][4][4] = {};
  mma_product<4, true>(a, b, static_cast<int>((terms.k() + kMmaDepth - 1) / kMmaDepth), shared, sum);
  const auto *bias = static_cast<const bf16 *>(terms.bias);
  auto *out = static_cast<Out *>(terms.out);
  mma_each<4>(sum, [&](int r, int c, float low, float high) {
    const int64_t row = row0 + r, column = column0 + c;
    if (row >= terms.pixels || column >= terms.n) return;
    const bool pair = column + 1 < terms.n;
    if (bias != nullptr) {
      low += to_float(bias[column]);
      if (pair) high += to_float(bias[column + 1]);
    }
    store_pair(out + row * terms.n + column, low, high, pair, even);
  });
}

// 128 rows (tap, channel) of the pictures, k over pixels; chunks of a thread keep their tap and channels.
class TapCopy {
 public:
  __device__ TapCopy(const ConvWeightTerms &terms, int64_t row0, int64_t begin, int64_t end) : terms_(terms), end_(end) {
    const uint32_t row = static_cast<uint32_t>(row0) + threadIdx.x % 16 * kChunk;
    const uint32_t channels = terms.gather.channels;
    tap_ = static_cast<int>(row / channels);
    channel_ = static_cast<int>(row % channels);
    first_ = begin + threadIdx.x / 16;
  }

  __device__ __forceinline__ void copy(bf16 *tile, int step) const {
    const int chunk = static_cast<int>(threadIdx.x) % 16, k0 = static_cast<int>(threadIdx.x) / 16;
    const auto *x = static_cast<const bf16 *>(terms_.x);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int64_t pixel = first_ + step * kMmaDepth + i * 16;
      int64_t at = -1;
      if (tap_ < terms_.gather.taps && pixel < end_)
        at = ConvPixel(terms_.gather, pixel, terms_.pixels).at(terms_.gather, tap_);
      cp_async_16(tile + chunk_along_rows(k0 + i * 16, chunk), x + (at >= 0 ? at + channel_ : 0), at >= 0);
    }
  }

 private:
  const ConvWeightTerms &terms_;
  int64_t first_, end_;
  int tap_, channel_;
};

// 128 channels of dy, k over pixels.
class GradientCopy {
 public:
  __device__ GradientCopy(const ConvWeightTerms &terms, int64_t row0, int64_t begin, int64_t end)
      : dy_(static_cast<const bf16 *>(terms.dy)), n_(terms.n), row_(row0 + threadIdx.x % 16 * kChunk),
        first_(begin + threadIdx.x / 16), end_(end) {}

  __device__ __forceinline__ void copy(bf16 *tile, int step) const {
    const int chunk = static_cast<int>(threadIdx.x) % 16, k0 = static_cast<int>(threadIdx.x) / 16;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int64_t pixel = first_ + step * kMmaDepth + i * 16;
      const bool valid = row_ < n_ && pixel < end_;
      cp_async_16(tile + chunk_along_rows(k0 + i * 16, chunk), dy_ + (valid ? pixel * n_ + row_ : 0), valid);
    }
  }

 private:
  const bf16 *dy_;
  int64_t n_, row_, first_, end_;
};

// A tile of 128 rows (tap, channel) and 128 channels of dy, and one part of the pixels, a block; 256 threads, 64 KiB shared.
// sums [parts, rows, n] (=).
__global__ void __launch_bounds__(kMmaThreads, 2)
conv_weight_mma_kernel(ConvWeightTerms terms, unsigned tiles_n, unsigned tiles) {
  WM_DYNAMIC_SHARED(bf16, shared);
  const unsigned tile = blockIdx.x % tiles, part = blockIdx.x / tiles;
  const int64_t row0 = static_cast<int64_t>(tile / tiles_n) * kMmaRows<4>;
  const int64_t column0 = static_cast<int64_t>(tile % tiles_n) * kMmaColumns;
  const int64_t begin = part * terms.part_pixels, end = min(begin + terms.part_pixels, terms.pixels);
  TapCopy a(terms, row0, begin, end);
  GradientCopy b(terms, column0, begin, end);
  float sum[4][4][4] = {};
  mma_product<4, false>(a, b, static_cast<int>((end - begin + kMmaDepth - 1) / kMmaDepth), shared, sum);
  const int64_t rows = static_cast<int64_t>(terms.gather.taps) * terms.gather.channels;
  mma_each<4>(sum, [&](int r, int c, float low, float high) {
    const int64_t row = row0 + r, column = column0 + c;
    if (row >= rows || column >= terms.n) return;
    store_pair(terms.sums + (part * rows + row) * terms.n + column, low, high, column + 1 < terms.n, true);
  });
}

}  // namespace

void conv_mma(LaunchCall &call, const ConvTerms &terms, DType out) {
  const unsigned tiles_n = blocks_for(terms.n, kMmaColumns);
  const dim3 grid(blocks_for((terms.pixels + kMmaRows<4> - 1) / kMmaRows<4> * tiles_n, 1));
  const bool even = terms.n % 2 == 0 && reinterpret_cast<uintptr_t>(terms.out) % 8 == 0;
  if (out == DType::f32) {
    WM_LAUNCH((conv_mma_kernel<float>), grid, dim3(kMmaThreads), kMmaSharedBytes<4>, call.stream(), terms, tiles_n, even);
  } else {
    WM_LAUNCH((conv_mma_kernel<bf16>), grid, dim3(kMmaThreads), kMmaSharedBytes<4>, call.stream(), terms, tiles_n,
              even);
  }
}

void conv_weight_mma(LaunchCall &call, const ConvWeightTerms &terms) {
  const int64_t rows = static_cast<int64_t>(terms.gather.taps) * terms.gather.channels;
  const unsigned tiles_n = blocks_for(terms.n, kMmaColumns);
  const unsigned tiles = blocks_for((rows + kMmaRows<4> - 1) / kMmaRows<4> * tiles_n, 1);
  WM_LAUNCH(conv_weight_mma_kernel, dim3(blocks_for(tiles * terms.parts, 1)), dim3(kMmaThreads), kMmaSharedBytes<4>,
            call.stream(), terms, tiles_n, tiles);
}

}  // namespace wm::cuda
