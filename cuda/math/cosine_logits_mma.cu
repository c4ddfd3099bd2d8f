// cosine_logits by mma.sync (tier T2): x is bf16, w is f32 and goes in as the sum of two bf16, w = high + low, so that the
// product of 2 D steps of k loses 2^-17 of a weight and nothing of x. A block takes the lengths of its patches first (x is read
// from memory then and from the second-level cache by the product) and scales the finished sums; nothing normalised is
// stored. Expected limiter: the latency of the chain over 2 D for few names, the tensor cores for many (kernels.md G3).
#include "cuda/core/reduce.cuh"
#include "cuda/math/cosine_logits.h"
#include "cuda/math/rows.cuh"
#include "cuda/math/tile_mma.cuh"

namespace wm::cuda {

namespace {

// w [s, d] -> halves [s, 2 d] (=): bf16(w), then what that leaves. 256 threads a block.
__global__ void __launch_bounds__(kMmaThreads) split_kernel(const float *w, bf16 *halves, int64_t n, uint32_t d) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kMmaThreads + threadIdx.x;
  if (i >= n) return;
  const auto row = static_cast<uint32_t>(i / d);
  const bf16 high = from_float<bf16>(w[i]);
  bf16 *to = halves + i + static_cast<int64_t>(row) * d;
  to[0] = high;
  to[d] = from_float<bf16>(w[i] - to_float(high));
}

// scale / |x_p| of the block's patches; a warp takes 16 of them.
__device__ void patch_factors(const CosineParams &p, const bf16 *x, int64_t column0, float *factor) {
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  constexpr int kShare = kMmaColumns / (kMmaThreads / 32);
  for (int i = 0; i < kShare; ++i) {
    const int64_t column = column0 + warp * kShare + i;
    float squares = 0.0f;
    if (p.normalise && column < p.patches) {
      for (int64_t k = lane * kChunk; k < p.d; k += 32 * kChunk) {
        float v[kChunk];
        load_values(x + column * p.d + k, true, v);
#pragma unroll
        for (float value : v) squares += value * value;
      }
    }
    squares = warp_sum(squares);
    if (lane == 0)
      factor[warp * kShare + i] = p.normalise ? p.scale / fmaxf(sqrtf(squares), kMinCosineLength) : p.scale;
  }
}

// A tile of 32 kM names and 128 patches of one image a block; 256 threads, 40 to 64 KiB shared. out (=).
template <int kM>
__global__ void __launch_bounds__(kMmaThreads, 2)
cosine_logits_mma_kernel(CosineParams p, const bf16 *halves, unsigned tiles_s, unsigned tiles_p) {
  WM_DYNAMIC_SHARED(bf16, shared);
  __shared__ float factor[kMmaColumns];
  const unsigned tile = blockIdx.x % (tiles_s * tiles_p);
  const int64_t image = blockIdx.x / (tiles_s * tiles_p);
  const int64_t row0 = static_cast<int64_t>(tile % tiles_s) * kMmaRows<kM>;
  const int64_t column0 = static_cast<int64_t>(tile / tiles_s) * kMmaColumns;
  const bf16 *x = static_cast<const bf16 *>(p.x) + image * p.patches * p.d;
  patch_factors(p, x, column0, factor);
  MmaRowLoad<kMmaRows<kM>> a(halves, row0, p.s, 2 * p.d, 2 * p.d);
  MmaRowLoad<kMmaColumns> b(x, column0, p.patches, 2 * p.d, p.d);
  float sum[kM][4][4] = {};
  mma_product<kM, true>(a, b, static_cast<int>((2 * p.d + kMmaDepth - 1) / kMmaDepth), shared, sum);
  __syncthreads();  // for the factors where there is no step
  mma_each<kM>(sum, [&](int r, int c, float low, float high) {
    const int64_t row = row0 + r, column = column0 + c;
    if (row >= p.s || column >= p.patches) return;
    float *out = p.out + (image * p.s + row) * p.patches + column;
    out[0] = low * factor[c];
    if (column + 1 < p.patches) out[1] = high * factor[c + 1];
  });
}

template <int kM>
void launch(LaunchCall &call, const CosineParams &p, const bf16 *halves) {
  const unsigned tiles_s = blocks_for(p.s, kMmaRows<kM>), tiles_p = blocks_for(p.patches, kMmaColumns);
  WM_LAUNCH((cosine_logits_mma_kernel<kM>), dim3(blocks_for(static_cast<int64_t>(tiles_s) * tiles_p * p.batch, 1)),
            dim3(kMmaThreads), kMmaSharedBytes<kM>, call.stream(), p, halves, tiles_s, tiles_p);
}

}  // namespace

void cosine_logits_mma(LaunchCall &call, const CosineParams &p) {
  auto *halves = call.workspace<bf16>(2 * p.s * p.d);
  WM_LAUNCH(split_kernel, dim3(blocks_for(p.s * p.d, kMmaThreads)), dim3(kMmaThreads), 0, call.stream(), p.w, halves,
            p.s * p.d, static_cast<uint32_t>(p.d));
  if (p.s <= 32) launch<1>(call, p, halves);
  else if (p.s <= 64) launch<2>(call, p, halves);
  else launch<4>(call, p, halves);
}

}  // namespace wm::cuda
