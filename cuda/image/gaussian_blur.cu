// Gaussian blur of the last two axes, separable, radius int(truncate * sigma + 0.5), weights normalised to sum 1
// (kernels.md P6). Border: 0 reflects with the edge sample repeated (d c b a | a b c d | d c b a), 1 mirrors without
// repeating it, both as often as needed. Two passes over a scratch image, down the columns first.
// Floor: 8 bytes a sample and pass, 2 (2 radius + 1) FMA a sample; from a radius of about 20 expected to be bound by FMA.
#include <cmath>

#include "cuda/image/rows.cuh"
#include "native/core/image_checks.h"

namespace wm::cuda {

namespace {


// A tile is 32 lines across the blurred axis and 128 positions along it. Each of 8 warps makes 16 positions of every
// line (a lane a line), with a window of 16 samples in registers that moves one position a tap: one read of the sample
// and one of the weight for 16 FMA. Taps come in rounds, so any radius fits.
constexpr int kLines = 32, kWarps = 8, kEach = 16, kTile = kWarps * kEach, kTaps = 128;
constexpr int kPitch = kLines + 1;  // odd: neither a column nor a row of the tile meets a bank twice

// Where sample (group, line, position) lies: one group of planes * H lines along the rows, a group of W lines a plane
// down the columns.
struct BlurPlan {
  int64_t length, lines;  // along the blurred axis, across it
  int64_t position_stride, line_stride, group_stride;
  int64_t position_tiles, line_tiles;
  int64_t radius;
  bool mirror;
};

__device__ __forceinline__ int64_t border_index(int64_t i, int64_t n, bool mirror) {
  if (i >= 0 && i < n) return i;
  if (n == 1) return 0;
  const int64_t period = mirror ? 2 * (n - 1) : 2 * n;
  i %= period;
  if (i < 0) i += period;
  if (i < n) return i;
  return mirror ? period - i : period - 1 - i;
}

// weights [radius + 1] (=). The sum comes from the host, so every weight is one exponential.
__global__ void blur_weights_kernel(float *weights, double sigma, double sum, int64_t radius) {
  const int64_t k = grid_index();
  if (k > radius) return;
  const double z = static_cast<double>(k) / sigma;
  weights[k] = static_cast<float>(exp(-0.5 * z * z) / sum);
}

// tile[p][l] = sample of position `begin` + p, for `count` positions. Lanes run along whichever axis is contiguous.
template <bool kRows>
__device__ __forceinline__ void load_tile(const float *in, const BlurPlan &plan, int64_t line0, int64_t begin, int count,
                                          float *tile) {
  const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp;
  if constexpr (kRows) {
    for (int l = warp; l < kLines; l += kWarps) {
      const bool inside = line0 + l < plan.lines;
      const float *line = in + (line0 + l) * plan.line_stride;
      for (int p = lane; p < count; p += kWarp)
        tile[p * kPitch + l] = inside ? line[border_index(begin + p, plan.length, plan.mirror)] : 0.0f;
    }
  } else {
    const bool inside = line0 + lane < plan.lines;
    for (int p = warp; p < count; p += kWarps) {
      const int64_t at = border_index(begin + p, plan.length, plan.mirror) * plan.position_stride;
      tile[p * kPitch + lane] = inside ? in[at + line0 + lane] : 0.0f;
    }
  }
}

// sum[j] += weights[k] * from[(j + k) * kPitch] for k < taps. Slot (j + k) % 16 of `held` is position j + k.
__device__ __forceinline__ void add_taps(const float *from, const float *weights, int taps, float (&sum)[kEach]) {
  float held[kEach];
#pragma unroll
  for (int j = 0; j < kEach; ++j) held[j] = from[j * kPitch];
  for (int k = 0; k < taps; k += kEach) {
#pragma unroll
    for (int u = 0; u < kEach; ++u) {
      if (k + u < taps) {
        const float w = weights[k + u];
#pragma unroll
        for (int j = 0; j < kEach; ++j) sum[j] = fmaf(w, held[(u + j) % kEach], sum[j]);
        held[u] = from[(k + u + kEach) * kPitch];
      }
    }
  }
}

template <bool kRows>
__device__ __forceinline__ void store_tile(const float (&sum)[kEach], const BlurPlan &plan, int64_t line0,
                                           int64_t begin, float *tile, float *out) {
  const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp;
  if constexpr (kRows) {
#pragma unroll
    for (int j = 0; j < kEach; ++j) tile[(warp * kEach + j) * kPitch + lane] = sum[j];
    __syncthreads();
    for (int l = warp; l < kLines && line0 + l < plan.lines; l += kWarps) {
      for (int p = lane; p < kTile && begin + p < plan.length; p += kWarp)
        out[(line0 + l) * plan.line_stride + begin + p] = tile[p * kPitch + l];
    }
  } else {
    if (line0 + lane >= plan.lines) return;
#pragma unroll
    for (int j = 0; j < kEach; ++j) {
      const int64_t p = begin + warp * kEach + j;
      if (p < plan.length) out[p * plan.position_stride + line0 + lane] = sum[j];
    }
  }
}

// in -> out (=), one axis of planes [.., H, W]; weights [radius + 1]. 256 threads and a tile of 32 x 128 samples a block,
// 34 KB of shared memory.
template <bool kRows>
__global__ void __launch_bounds__(kWarps *kWarp)
    blur_axis_kernel(const float *in, const float *weights, const BlurPlan plan, float *out) {
  __shared__ float tile[(kTile + kTaps) * kPitch];
  __shared__ float part[kTaps];
  const int64_t index = blockIdx.x, across = quotient(index, plan.position_tiles);
  const int64_t group = quotient(across, plan.line_tiles);
  const int64_t begin = (index - across * plan.position_tiles) * kTile;
  const int64_t line0 = (across - group * plan.line_tiles) * kLines;
  in += group * plan.group_stride;
  out += group * plan.group_stride;
  const int64_t taps = 2 * plan.radius + 1;
  const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp;
  float sum[kEach] = {};
  for (int64_t first = 0; first < taps; first += kTaps) {
    const int count = taps - first < kTaps ? static_cast<int>(taps - first) : kTaps;
    load_tile<kRows>(in, plan, line0, begin + first - plan.radius, kTile + count, tile);
    for (int k = static_cast<int>(threadIdx.x); k < count; k += kWarps * kWarp) {
      const int64_t distance = first + k - plan.radius;
      part[k] = weights[distance < 0 ? -distance : distance];
    }
    __syncthreads();
    add_taps(tile + warp * kEach * kPitch + lane, part, count, sum);
    __syncthreads();
  }
  store_tile<kRows>(sum, plan, line0, begin, tile, out);
}

template <bool kRows>
void blur_axis(const LaunchCall &call, const float *in, const float *weights, BlurPlan plan, int64_t groups,
               float *out) {
  plan.position_tiles = ceil_div(plan.length, kTile);
  plan.line_tiles = ceil_div(plan.lines, kLines);
  const unsigned blocks = blocks_for(groups * plan.line_tiles * plan.position_tiles, 1);
  WM_LAUNCH((blur_axis_kernel<kRows>), dim3(blocks), dim3(kWarps * kWarp), 0, call.stream(), in, weights, plan, out);
}

// x f32 [..., H, W] -> the same; attrs: sigma, truncate, mode
void gaussian_blur(LaunchCall &call) {
  const TensorView &x = call.in(0), &y = call.out(0);
  if (x.ndim < 2) call.reject("needs [..., H, W]");
  if (x.dtype != DType::f32 || y.dtype != DType::f32) call.reject("needs f32, got %s", dtype_name(x.dtype));
  if (y.numel() != x.numel()) call.reject("the output does not fit the input");
  if (x.numel() == 0) return;
  const BlurSpec spec = read_blur(call);
  const double sigma = spec.sigma;
  const int64_t radius = spec.radius;
  double sum = 1.0;
  for (int64_t k = 1; k <= radius; ++k) {
    const double z = static_cast<double>(k) / sigma;
    sum += 2.0 * std::exp(-0.5 * z * z);
  }
  const int64_t height = x.dim(-2), width = x.dim(-1), plane = height * width, planes = x.numel() / plane;
  auto *weights = call.workspace<float>(radius + 1);
  WM_LAUNCH(blur_weights_kernel, dim3(blocks_for(radius + 1, 256)), dim3(256), 0, call.stream(),
            weights, sigma, sum, radius);
  auto *between = call.workspace<float>(x.numel());
  blur_axis<false>(call, x.as<const float>(), weights, {height, width, width, 1, plane, 0, 0, radius, spec.mirror}, planes,
                   between);
  blur_axis<true>(call, between, weights, {width, planes * height, 1, width, 0, 0, 0, radius, spec.mirror}, 1,
                  y.as<float>());
}

}  // namespace

WM_REGISTER_CUDA_OP(gaussian_blur, gaussian_blur, kContiguous)

}  // namespace wm::cuda
