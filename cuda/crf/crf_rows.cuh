// Row kernels of the dense CRF beside the filter: between class planes and rows of pixels, compatibility, and the
// update Q = softmax(-U + sum of slices). Rows hold the classes of a pixel, padded to whole vectors of four.
#pragma once

#include "cuda/crf/crf_lattice.cuh"

namespace wm::cuda {

// What the terms add to a pixel: for each the sum over corners of weight * row of the vertex.
struct CrfSlices {
  int count;
  struct {
    const CrfLink *corner;
    const float *rows;
    int corners;
  } term[kCrfMaxTerms];
};

namespace {

constexpr int kTileSide = 32, kTileRows = kCrfThreads / kTileSide;

// scores [N, width] (=) -U of the pixels in tile order, padded with -infinity; unary [C, H, W], refused where it is NaN.
// 32 pixels x 32 classes a block of 256 threads, transposed in 4.1 KiB of shared memory.
__global__ void crf_read_unary_kernel(CrfPixels pixels, const float *unary, int64_t n, int classes, int width, Refusal refusal,
                                      float *scores) {
  __shared__ float tile[kTileSide][kTileSide + 1];
  const int column = static_cast<int>(threadIdx.x) % kTileSide, row = static_cast<int>(threadIdx.x) / kTileSide;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kTileSide;
  const int first_class = static_cast<int>(blockIdx.y) * kTileSide;
  if (first + column < n) {
    const auto pixel = static_cast<int64_t>(pixels.index(static_cast<uint32_t>(first + column)));
    for (int r = row; r < kTileSide; r += kTileRows) {
      if (first_class + r >= classes) break;
      const int64_t at = static_cast<int64_t>(first_class + r) * n + pixel;
      const float score = -unary[at];
      if (score != score) refusal.at(at);
      tile[r][column] = score > kCrfUnaryLimit ? kCrfUnaryLimit : score < -kCrfUnaryLimit ? -kCrfUnaryLimit : score;
    }
  }
  __syncthreads();
  const int c = first_class + column;
  if (c >= width) return;
  for (int r = row; r < kTileSide && first + r < n; r += kTileRows) {
    scores[(first + r) * width + c] = c < classes ? tile[column][r] : -INFINITY;
  }
}

// out [C, H, W] (=) from rows q [N, width]: the reverse of the kernel above.
__global__ void crf_write_planes_kernel(CrfPixels pixels, const float *q, int64_t n, int classes, int width, float *out) {
  __shared__ float tile[kTileSide][kTileSide + 1];
  const int column = static_cast<int>(threadIdx.x) % kTileSide, row = static_cast<int>(threadIdx.x) / kTileSide;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kTileSide;
  const int first_class = static_cast<int>(blockIdx.y) * kTileSide;
  if (first_class + column < classes) {
    for (int r = row; r < kTileSide && first + r < n; r += kTileRows) {
      tile[column][r] = q[(first + r) * width + first_class + column];
    }
  }
  __syncthreads();
  if (first + column >= n) return;
  float *at = out + pixels.index(static_cast<uint32_t>(first + column));
  for (int r = row; r < kTileSide && first_class + r < classes; r += kTileRows) {
    at[static_cast<int64_t>(first_class + r) * n] = tile[r][column];
  }
}

// factor [width] (=): gain of each class in T += ..., zero where padded. compat null: Potts with weight `potts`, that is
// -potts on the diagonal; else the diagonal itself.
__global__ void crf_factor_kernel(const float *compat, float potts, float alpha, int classes, int width, float *factor) {
  const int c = static_cast<int>(blockIdx.x) * kCrfThreads + static_cast<int>(threadIdx.x);
  if (c >= width) return;
  factor[c] = c >= classes ? 0.0f : compat == nullptr ? alpha * potts : -alpha * compat[c];
}

// mixed [N, width] (=) the classes first_class.. of -alpha * (M + M^T)/2 * q; compat M [C, C], q [N, stride]. The filter
// acts on pixels and the matrix on classes, so mixing may come first. 32 x 32 outputs a block, 8.3 KiB of shared memory.
__global__ void crf_mix_kernel(const float *compat, float alpha, const float *q, int64_t n, int stride, int classes,
                               int first_class, int width, float *mixed) {
  __shared__ float tile[kTileSide][kTileSide + 1], matrix[kTileSide][kTileSide + 1];
  const int column = static_cast<int>(threadIdx.x) % kTileSide, row = static_cast<int>(threadIdx.x) / kTileSide;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kTileSide;
  const int local = static_cast<int>(blockIdx.y) * kTileSide + column, c = first_class + local;
  float sum[kTileSide / kTileRows] = {};
  for (int from = 0; from < classes; from += kTileSide) {
    for (int r = row; r < kTileSide; r += kTileRows) {
      const int64_t i = c, j = from + r;
      tile[r][column] = first + r < n && from + column < classes ? q[(first + r) * stride + from + column] : 0.0f;
      matrix[r][column] = i < classes && j < classes ? 0.5f * (compat[i * classes + j] + compat[j * classes + i]) : 0.0f;
    }
    __syncthreads();
    for (int j = 0; j < kTileSide; ++j) {
      for (int k = 0; k < kTileSide / kTileRows; ++k) sum[k] = fmaf(tile[row + k * kTileRows][j], matrix[j][column], sum[k]);
    }
    __syncthreads();
  }
  if (local >= width) return;
  for (int k = 0; k < kTileSide / kTileRows; ++k) {
    const int64_t p = first + row + k * kTileRows;
    if (p < n) mixed[p * width + local] = -alpha * sum[k];
  }
}

using CrfVector = Vector<float, 4>;

// Adds the slice of one term to Vectors vectors of a row, `step` vectors apart.
template <int Corners, int Vectors>
__device__ __forceinline__ void add_slice(const CrfLink *corner, const float *rows, int first, int step, int quads,
                                          CrfVector *sum) {
  CrfLink link[Corners];
#pragma unroll
  for (int m = 0; m < Corners; ++m) link[m] = load_vector<CrfLink, 1>(corner + m).value[0];
#pragma unroll
  for (int v = 0; v < Vectors; ++v) {
    const int quad = first + v * step;
    if (quad >= quads) break;
#pragma unroll
    for (int m = 0; m < Corners; ++m) {
      const CrfVector row = load_vector<float, 4>(rows + (link[m].index * static_cast<int64_t>(quads) + quad) * 4);
      for (int w = 0; w < 4; ++w) sum[v].value[w] = fmaf(link[m].weight, row.value[w], sum[v].value[w]);
    }
  }
}

template <int Vectors>
__device__ __forceinline__ void add_slices(const CrfSlices &slices, int64_t pixel, int first, int step, int quads,
                                           CrfVector *sum) {
  for (int t = 0; t < slices.count; ++t) {
    const auto &term = slices.term[t];
    const CrfLink *corner = term.corner + pixel * term.corners;
    if (term.corners == 6) add_slice<6, Vectors>(corner, term.rows, first, step, quads, sum);
    else add_slice<3, Vectors>(corner, term.rows, first, step, quads, sum);
  }
}

// q [N, 4 * quads] (=) softmax(scores + slices). `Lanes` threads a pixel, `Vectors` vectors of four classes a thread, no
// shared memory. Limited by the cache: 4 * (3 + 6) gathers of a vector for the usual two terms.
template <int Lanes, int Vectors>
__global__ void __launch_bounds__(kCrfThreads)
    crf_update_kernel(CrfSlices slices, const float *__restrict__ scores, int64_t n, int quads, float *__restrict__ q) {
  const int lane = static_cast<int>(threadIdx.x) % Lanes;
  const int64_t pixel = static_cast<int64_t>(blockIdx.x) * (kCrfThreads / Lanes) + threadIdx.x / Lanes;
  const int64_t at = min(pixel, n - 1);  // threads past the end take part in the shuffles
  CrfVector score[Vectors];
#pragma unroll
  for (int v = 0; v < Vectors; ++v) {
    const int quad = lane + v * Lanes;
    for (int w = 0; w < 4; ++w) score[v].value[w] = -INFINITY;
    if (quad < quads) score[v] = load_vector<float, 4>(scores + (at * quads + quad) * 4);
  }
  add_slices<Vectors>(slices, at, lane, Lanes, quads, score);
  float top = -INFINITY;
#pragma unroll
  for (int v = 0; v < Vectors; ++v) {
    for (int w = 0; w < 4; ++w) top = fmaxf(top, score[v].value[w]);
  }
#pragma unroll
  for (int bits = Lanes / 2; bits > 0; bits /= 2) top = fmaxf(top, __shfl_xor_sync(kFullMask, top, bits));
  float sum = 0.0f;
#pragma unroll
  for (int v = 0; v < Vectors; ++v) {
    for (int w = 0; w < 4; ++w) sum += score[v].value[w] = expf(score[v].value[w] - top);
  }
#pragma unroll
  for (int bits = Lanes / 2; bits > 0; bits /= 2) sum += __shfl_xor_sync(kFullMask, sum, bits);
  if (pixel >= n) return;
  const float scale = 1.0f / sum;
#pragma unroll
  for (int v = 0; v < Vectors; ++v) {
    const int quad = lane + v * Lanes;
    if (quad >= quads) break;
    for (int w = 0; w < 4; ++w) score[v].value[w] *= scale;
    store_vector(q + (pixel * quads + quad) * 4, score[v]);
  }
}

// total [N, stride] (=) scores + slices of `quads` vectors, for classes worked on in groups. One thread a vector.
__global__ void crf_add_slices_kernel(CrfSlices slices, const float *scores, int64_t n, int64_t stride, int quads,
                                      float *total) {
  const CrfLane lane(quads);
  if (!lane.active) return;
  for (int64_t pixel = lane.item; pixel < n; pixel += lane.step) {
    const int64_t at = pixel * stride + lane.quad * 4;
    CrfVector sum = load_vector<float, 4>(scores + at);
    add_slices<1>(slices, pixel, lane.quad, 1, quads, &sum);
    store_vector(total + at, sum);
  }
}

// q [N, width] (=) softmax of each row of total. One warp a pixel, 8 pixels a block.
__global__ void crf_softmax_kernel(const float *total, int64_t n, int width, float *q) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t pixel = static_cast<int64_t>(blockIdx.x) * kSortWarps + threadIdx.x / kWarp;
  const float *row = total + min(pixel, n - 1) * width;
  float top = -INFINITY, sum = 0.0f;
  for (int c = lane; c < width; c += kWarp) top = fmaxf(top, row[c]);
  for (int bits = kWarp / 2; bits > 0; bits /= 2) top = fmaxf(top, __shfl_xor_sync(kFullMask, top, bits));
  for (int c = lane; c < width; c += kWarp) sum += expf(row[c] - top);
  for (int bits = kWarp / 2; bits > 0; bits /= 2) sum += __shfl_xor_sync(kFullMask, sum, bits);
  if (pixel >= n) return;
  const float scale = 1.0f / sum;
  for (int c = lane; c < width; c += kWarp) q[pixel * width + c] = expf(row[c] - top) * scale;
}

}  // namespace

// Classes of a row: whole vectors, and whole sectors of the cache where there are several.
inline int crf_row_width(int64_t classes) {
  return static_cast<int>(classes <= 8 ? (classes + 3) / 4 * 4 : (classes + 7) / 8 * 8);
}

// Rows wider than this do not fit the registers of a warp.
constexpr int kCrfFusedWidth = 1024;

template <int Lanes, int Vectors>
void launch_update(LaunchCall &call, const CrfSlices &slices, const float *scores, int64_t n, int quads, float *q) {
  WM_LAUNCH((crf_update_kernel<Lanes, Vectors>), dim3(blocks_for(n, kCrfThreads / Lanes)), dim3(kCrfThreads), 0,
            call.stream(), slices, scores, n, quads, q);
}

// q = softmax(scores + slices) for rows of at most kCrfFusedWidth.
inline void crf_update(LaunchCall &call, const CrfSlices &slices, const float *scores, int64_t n, int quads, float *q) {
  if (quads <= 1) launch_update<1, 1>(call, slices, scores, n, quads, q);
  else if (quads <= 2) launch_update<2, 1>(call, slices, scores, n, quads, q);
  else if (quads <= 4) launch_update<4, 1>(call, slices, scores, n, quads, q);
  else if (quads <= 8) launch_update<8, 1>(call, slices, scores, n, quads, q);
  else if (quads <= 16) launch_update<16, 1>(call, slices, scores, n, quads, q);
  else if (quads <= 32) launch_update<32, 1>(call, slices, scores, n, quads, q);
  else if (quads <= 64) launch_update<32, 2>(call, slices, scores, n, quads, q);
  else if (quads <= 128) launch_update<32, 4>(call, slices, scores, n, quads, q);
  else launch_update<32, 8>(call, slices, scores, n, quads, q);
}

}  // namespace wm::cuda
