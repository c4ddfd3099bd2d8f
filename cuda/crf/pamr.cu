// Pixel-adaptive mask refinement (Araslanov & Roth, CVPR 2020, section 3.3; evaluation.md section 5): every iteration
// replaces a mask by the affinity-weighted mean of its 8 neighbours at each dilation d, replicate border:
//   a_n = softmax over n of mean over channels of -|x_n - x| / (1e-8 + 0.1 * std), m <- sum_n a_n * m_n.
// The affinity, 8 weights a dilation and pixel in f32, is computed once and serves all classes and iterations.
// Floor at 500x375, C 21, 16 neighbours, 10 iterations: 0.09 ms of HBM, 0.46 ms of cache were every neighbour read from
// there. Tiles in shared memory cut that to a quarter; the expected limiter is then reading shared memory, 0.09 ms.
#include <algorithm>

#include "cuda/core/op.h"

namespace wm::cuda {

namespace {

constexpr int kMaxDilations = 8;
constexpr int kMaxDilation = 512;
// A block works on a square of pixels, a warp on its rows. Weights are stored by tile: [tile, neighbour, pixel].
constexpr int kTile = 32, kTilePixels = kTile * kTile;
constexpr int kThreads = 256, kRowStep = kThreads / kTile, kPixels = kTile / kRowStep;
constexpr int kMaxPlanes = 4;                       // masks a block refines side by side: their reads share the weights
constexpr int64_t kWeightBytes = int64_t{1} << 30;  // of affinities held; a larger picture computes them in bands

struct PamrParams {
  int height, width, classes;
  int rings, reach;             // dilations, and the largest
  int dilation[kMaxDilations];
  int tiles_across, first_tile;

  __device__ __forceinline__ int neighbours() const { return 8 * rings; }
};

// Offset in y (or x, with the column) of neighbour k = 0..7 in rows from the top: -1, 0 or 1.
__device__ __forceinline__ int step_y(int k) { return k < 3 ? -1 : k < 5 ? 0 : 1; }
__device__ __forceinline__ int step_x(int k) { return k < 3 ? k - 1 : k == 3 ? -1 : k == 4 ? 1 : k - 6; }

__device__ __forceinline__ int clamp_index(int i, int n) { return min(max(i, 0), n - 1); }

struct Position {
  int y, x;
};
// First pixel of a block's tile.
__device__ __forceinline__ Position tile_origin(const PamrParams &p, int tile) {
  return {(p.first_tile + tile) / p.tiles_across * kTile, (p.first_tile + tile) % p.tiles_across * kTile};
}

__device__ __forceinline__ float neighbour_of(const PamrParams &p, const float *plane, int y, int x, int d, int k) {
  const int64_t row = clamp_index(y + step_y(k) * d, p.height);
  return plane[row * p.width + clamp_index(x + step_x(k) * d, p.width)];
}

// 1 / -(3 * (1e-8 + 0.1 * std)) of one channel around a pixel; std unbiased over the neighbours and, once a dilation,
// the pixel itself.
__device__ __forceinline__ float channel_scale(const PamrParams &p, const float *plane, int y, int x, float centre) {
  const float repeats = static_cast<float>(p.rings), samples = 9.0f * repeats;
  float sum = centre * repeats;
  for (int ring = 0; ring < p.rings; ++ring) {
#pragma unroll
    for (int k = 0; k < 8; ++k) sum += neighbour_of(p, plane, y, x, p.dilation[ring], k);
  }
  const float mean = sum * (1.0f / samples);
  float squares = (centre - mean) * (centre - mean) * repeats;
  for (int ring = 0; ring < p.rings; ++ring) {
#pragma unroll
    for (int k = 0; k < 8; ++k) {
      const float deviation = neighbour_of(p, plane, y, x, p.dilation[ring], k) - mean;
      squares = fmaf(deviation, deviation, squares);
    }
  }
  const float std = sqrtf(squares * (1.0f / (samples - 1.0f)));
  return (-1.0f / 3.0f) / fmaf(std, 0.1f, 1e-8f);
}

// weights [tiles, 8 * rings, 32, 32] (=), zero outside the picture. One block of 256 threads a tile, four pixels a
// thread, no shared memory; guide [3, H, W] comes from the first-level cache. A thread keeps its scores in `weights`.
__global__ void __launch_bounds__(kThreads)
    pamr_affinity_kernel(PamrParams p, const float *__restrict__ guide, float *__restrict__ weights) {
  const Position origin = tile_origin(p, static_cast<int>(blockIdx.x));
  const int column = static_cast<int>(threadIdx.x) % kTile, row = static_cast<int>(threadIdx.x) / kTile;
  const int64_t plane_size = static_cast<int64_t>(p.height) * p.width;
  float *tile = weights + static_cast<int64_t>(blockIdx.x) * p.neighbours() * kTilePixels;
  for (int i = 0; i < kPixels; ++i) {
    const int y = origin.y + row + i * kRowStep, x = origin.x + column;
    float *own = tile + (row + i * kRowStep) * kTile + column;
    if (y >= p.height || x >= p.width) {
      for (int k = 0; k < p.neighbours(); ++k) own[k * kTilePixels] = 0.0f;
      continue;
    }
    float centre[3], scale[3];
    for (int c = 0; c < 3; ++c) {
      centre[c] = guide[c * plane_size + static_cast<int64_t>(y) * p.width + x];
      scale[c] = channel_scale(p, guide + c * plane_size, y, x, centre[c]);
    }
    float top = -INFINITY, sum = 0.0f;
    for (int ring = 0; ring < p.rings; ++ring) {
#pragma unroll
      for (int k = 0; k < 8; ++k) {
        float score = 0.0f;
        for (int c = 0; c < 3; ++c) {
          const float near = neighbour_of(p, guide + c * plane_size, y, x, p.dilation[ring], k);
          score = fmaf(fabsf(near - centre[c]), scale[c], score);
        }
        own[(8 * ring + k) * kTilePixels] = score;
        top = fmaxf(top, score);
      }
    }
    for (int k = 0; k < p.neighbours(); ++k) {
      const float e = expf(own[k * kTilePixels] - top);
      own[k * kTilePixels] = e;
      sum += e;
    }
    const float norm = 1.0f / sum;
    for (int k = 0; k < p.neighbours(); ++k) own[k * kTilePixels] *= norm;
  }
}

// Where the masks around a tile are read from: shared memory, edges replicated when it was filled, ...
struct SharedTile {
  const float *pixel;  // of this thread's first pixel in the first plane
  int pitch, plane;

  __device__ __forceinline__ float at(int c, int i, int dy, int dx) const {
    return pixel[c * plane + (i * kRowStep + dy) * pitch + dx];
  }
};
// ... or the masks themselves, where the reach is too wide for it.
struct GlobalTile {
  const float *from;  // of the first plane
  int64_t plane;
  int planes, height, width, y, x;

  __device__ __forceinline__ float at(int c, int i, int dy, int dx) const {
    const int64_t row = clamp_index(y + i * kRowStep + dy, height);
    return from[min(c, planes - 1) * plane + row * width + clamp_index(x + dx, width)];
  }
};

// sum[c][i] (=) over rings and neighbours, in this order.
template <int Planes, class Source>
__device__ __forceinline__ void mix_pixels(const PamrParams &p, const Source &source, const float *weights,
                                           float (&sum)[Planes][kPixels]) {
  for (int c = 0; c < Planes; ++c) {
    for (int i = 0; i < kPixels; ++i) sum[c][i] = 0.0f;
  }
  for (int ring = 0; ring < p.rings; ++ring) {
    const int d = p.dilation[ring];
#pragma unroll
    for (int k = 0; k < 8; ++k) {
      const int dy = step_y(k) * d, dx = step_x(k) * d;
      const float *weight = weights + (8 * ring + k) * kTilePixels;
#pragma unroll
      for (int i = 0; i < kPixels; ++i) {
        const float w = weight[i * kRowStep * kTile];
#pragma unroll
        for (int c = 0; c < Planes; ++c) sum[c][i] = fmaf(w, source.at(c, i, dy, dx), sum[c][i]);
      }
    }
  }
}

// Fills [Planes, side, side] with the masks around a tile, the picture's edges replicated, and zero for missing masks.
template <int Planes>
__device__ __forceinline__ void load_tile(const PamrParams &p, const float *from, int planes, Position origin, float *tile) {
  const int side = kTile + 2 * p.reach;
  const int column = static_cast<int>(threadIdx.x) % kTile, row = static_cast<int>(threadIdx.x) / kTile;
  for (int r = row; r < side; r += kRowStep) {
    const int64_t at = static_cast<int64_t>(clamp_index(origin.y - p.reach + r, p.height)) * p.width;
    for (int x = column; x < side; x += kTile) {
      const int64_t source = at + clamp_index(origin.x - p.reach + x, p.width);
#pragma unroll
      for (int c = 0; c < Planes; ++c) {
        const float *plane = from + c * static_cast<int64_t>(p.height) * p.width;
        tile[(c * side + r) * side + x] = c < planes ? plane[source] : 0.0f;
      }
    }
  }
}

// to [C, H, W] (=) one iteration from `from`. One block of 256 threads a tile and group of `Planes` masks, four pixels a
// thread; dynamic shared memory Planes * (32 + 2 * reach)^2 * 4 bytes, or none.
template <int Planes, bool Shared>
__global__ void __launch_bounds__(kThreads)
    pamr_mix_kernel(PamrParams p, const float *__restrict__ weights, const float *__restrict__ from,
                    float *__restrict__ to) {
  WM_DYNAMIC_SHARED(float, tile);
  const Position origin = tile_origin(p, static_cast<int>(blockIdx.x));
  const int column = static_cast<int>(threadIdx.x) % kTile, row = static_cast<int>(threadIdx.x) / kTile;
  const int64_t plane = static_cast<int64_t>(p.height) * p.width;
  const int first = static_cast<int>(blockIdx.y) * Planes, planes = min(Planes, p.classes - first);
  const float *own = weights + static_cast<int64_t>(blockIdx.x) * p.neighbours() * kTilePixels + row * kTile + column;
  from += first * plane;
  to += first * plane;
  float sum[Planes][kPixels];
  if constexpr (Shared) {
    const int side = kTile + 2 * p.reach;
    load_tile<Planes>(p, from, planes, origin, tile);
    __syncthreads();
    const SharedTile source{tile + (p.reach + row) * side + p.reach + column, side, side * side};
    mix_pixels<Planes>(p, source, own, sum);
  } else {
    mix_pixels<Planes>(p, GlobalTile{from, plane, planes, p.height, p.width, origin.y + row, origin.x + column}, own, sum);
  }
  const int x = origin.x + column;
  if (x >= p.width) return;
  for (int i = 0; i < kPixels; ++i) {
    const int64_t y = origin.y + row + i * kRowStep;
    if (y >= p.height) break;
    for (int c = 0; c < Planes; ++c) {
      if (c < planes) to[c * plane + y * p.width + x] = sum[c][i];
    }
  }
}

// to [n] (=) from. 256 threads a block.
__global__ void pamr_copy_kernel(const float *from, float *to, int64_t n) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i < n) to[i] = from[i];
}

PamrParams make_params(const LaunchCall &call) {
  const TensorView &guide = call.in(0), &masks = call.in(1);
  if (guide.dtype != DType::f32 || masks.dtype != DType::f32 || guide.ndim != 3 || masks.ndim != 3 ||
      guide.dim(0) != 3 || guide.dim(1) != masks.dim(1) || guide.dim(2) != masks.dim(2)) {
    call.reject("needs guide f32 [3, H, W] and masks f32 [C, H, W] of one size");
  }
  for (int i = 0; i < 3; ++i) {
    if (masks.dim(i) > 1 << 30) call.reject("a dimension of %lld is too large", static_cast<long long>(masks.dim(i)));
  }
  PamrParams p{};
  p.classes = static_cast<int>(masks.dim(0));
  p.height = static_cast<int>(masks.dim(1));
  p.width = static_cast<int>(masks.dim(2));
  const int64_t count = call.attr_int(1);
  if (count < 1 || count > kMaxDilations) call.reject("needs 1..%d dilations", kMaxDilations);
  p.rings = static_cast<int>(count);
  for (int i = 0; i < p.rings; ++i) {
    const int64_t d = call.attr_int(2 + i);
    if (d < 1 || d > kMaxDilation) call.reject("a dilation must be 1..%d, got %g", kMaxDilation, call.attr(2 + i));
    p.dilation[i] = static_cast<int>(d);
    p.reach = std::max(p.reach, p.dilation[i]);
  }
  p.tiles_across = (p.width + kTile - 1) / kTile;
  return p;
}

size_t tile_bytes(const PamrParams &p, int planes) {
  const size_t side = static_cast<size_t>(kTile + 2 * p.reach);
  return static_cast<size_t>(planes) * side * side * sizeof(float);
}

template <int Planes, bool Shared>
void mix(LaunchCall &call, PamrParams p, int tiles, const float *weights, const float *from, float *to) {
  constexpr int kMostGroups = 65535;  // of a grid's y
  const int64_t plane = static_cast<int64_t>(p.height) * p.width;
  const int classes = p.classes;
  for (int64_t first = 0; first < classes; first += int64_t{kMostGroups} * Planes) {
    p.classes = static_cast<int>(std::min<int64_t>(classes - first, int64_t{kMostGroups} * Planes));
    const dim3 grid(static_cast<unsigned>(tiles), blocks_for(p.classes, Planes));
    WM_LAUNCH((pamr_mix_kernel<Planes, Shared>), grid, dim3(kThreads), Shared ? tile_bytes(p, Planes) : 0, call.stream(), p,
              weights, from + first * plane, to + first * plane);
  }
}

// As many masks side by side as leave room for two blocks in a multiprocessor, else one mask alone, else no tile in
// shared memory. Every form adds in the same order.
void mix_tiles(LaunchCall &call, const PamrParams &p, int tiles, const float *weights, const float *from, float *to) {
  const size_t limit = call.shared_limit();
  if (p.classes >= 3 && tile_bytes(p, 4) <= limit / 2) mix<4, true>(call, p, tiles, weights, from, to);
  else if (p.classes >= 2 && tile_bytes(p, 2) <= limit / 2) mix<2, true>(call, p, tiles, weights, from, to);
  else if (tile_bytes(p, 1) <= limit) mix<1, true>(call, p, tiles, weights, from, to);
  else mix<kMaxPlanes, false>(call, p, tiles, weights, from, to);
}

void pamr(LaunchCall &call) {
  PamrParams p = make_params(call);
  const int64_t iterations = call.attr_int(0);
  if (iterations < 0 || iterations > 10000) call.reject("iterations must be 0..10000");
  const TensorView &masks = call.in(1);
  const float *guide = call.in(0).as<const float>(), *from = masks.as<const float>();
  float *out = call.out(0).as<float>();
  const int64_t n = masks.numel();
  if (n == 0) return;
  if (iterations == 0) {
    WM_LAUNCH(pamr_copy_kernel, dim3(blocks_for(n, kThreads)), dim3(kThreads), 0, call.stream(), from, out, n);
    return;
  }
  const int64_t tiles = static_cast<int64_t>(p.tiles_across) * ((p.height + kTile - 1) / kTile);
  const int64_t tile_weights = int64_t{8} * p.rings * kTilePixels;
  const int64_t band = std::min(tiles, std::max<int64_t>(1, kWeightBytes / (tile_weights * static_cast<int64_t>(sizeof(float)))));
  float *weights = call.workspace<float>(band * tile_weights);
  float *between = iterations > 1 ? call.workspace<float>(n) : nullptr;
  for (int64_t i = 0; i < iterations; ++i) {
    float *to = (iterations - 1 - i) % 2 == 0 ? out : between;  // the last iteration writes the output
    for (int64_t first = 0; first < tiles; first += band) {
      p.first_tile = static_cast<int>(first);
      const int count = static_cast<int>(std::min(band, tiles - first));
      if (i == 0 || band < tiles) {
        WM_LAUNCH(pamr_affinity_kernel, dim3(static_cast<unsigned>(count)), dim3(kThreads), 0, call.stream(), p, guide, weights);
      }
      mix_tiles(call, p, count, weights, from, to);
    }
    from = to;
  }
}

}  // namespace

WM_REGISTER_CUDA_OP(pamr, pamr, kContiguous)

}  // namespace wm::cuda
