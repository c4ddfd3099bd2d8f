// Tier 1 of the GEMM family: sums of f32 products in register tiles; serves f32 operands everywhere, and bf16 ones where
// there are no bf16 units. Limiter: the FMA units (67 TFLOP/s expected on an H200); a step of 8 along K of a large tile costs
// a thread 512 multiply-adds, 8 loads and 32 16-byte reads of shared memory.
#include "cuda/math/gemm_epilogue.cuh"

namespace wm::cuda {

namespace {

constexpr int kThreads = 256;
// Rows of a tile in shared memory are a bank group apart from each other.
constexpr int kPad = 4;

// A tile has 16 kSide rows (kSide of them a thread's) and as much of K as gives each thread four values to load.
constexpr int kLoads = 4;
template <int kSide>
constexpr int kTileDepth = kThreads * kLoads / (16 * kSide);

// A thread's share of one operand's tile, in registers between global and shared memory. Neighbouring threads
// take neighbouring k where those are consecutive in memory, else neighbouring rows.
template <int kSide>
struct TileLoad {
  int64_t offset, step, stage_step;  // elements: of the first value, from one to the next, to the next tile
  int row, row_step, k, k_step;
  int rows;  // values that lie in the operand's rows
  float value[kLoads];

  __device__ __forceinline__ TileLoad(const GemmOperand &x, int64_t start, int64_t row0, int64_t k0, int64_t all_rows) {
    constexpr int kTile = 16 * kSide, kStepK = kTileDepth<kSide>;
    const int t = static_cast<int>(threadIdx.x);
    const bool along_k = x.k_stride == 1;
    row = along_k ? t / kStepK : t % kTile;
    k = along_k ? t % kStepK : t / kTile;
    row_step = along_k ? kThreads / kStepK : 0;
    k_step = along_k ? 0 : kThreads / kTile;
    offset = start + (row0 + row) * x.row_stride + (k0 + k) * x.k_stride;
    step = row_step * x.row_stride + k_step * x.k_stride;
    stage_step = kStepK * x.k_stride;
    const int left = static_cast<int>(min(all_rows - row0, int64_t{kTile})) - row;
    rows = left <= 0 ? 0 : along_k ? (left + row_step - 1) / row_step : kLoads;
  }

  // Zeros outside of the operand; `depth` of k are left.
  __device__ __forceinline__ void load(const GemmOperand &x, int depth, bool round) {
    const int deep = k_step == 0 ? (k < depth ? kLoads : 0) : (depth - k + k_step - 1) / k_step;
    const int count = min(rows, deep);
    if (x.dtype == DType::bf16) {
      const bf16 *from = static_cast<const bf16 *>(x.data) + offset;
#pragma unroll
      for (int i = 0; i < kLoads; ++i) value[i] = i < count ? to_float(from[i * step]) : 0.0f;
    } else {
      const float *from = static_cast<const float *>(x.data) + offset;
#pragma unroll
      for (int i = 0; i < kLoads; ++i) value[i] = i < count ? from[i * step] : 0.0f;
      if (round) {
#pragma unroll
        for (int i = 0; i < kLoads; ++i) value[i] = to_float(to_bf16(value[i]));
      }
    }
    offset += stage_step;
  }

  template <int kWidth>
  __device__ __forceinline__ void store(float (*tile)[kWidth]) const {
#pragma unroll
    for (int i = 0; i < kLoads; ++i) tile[k + i * k_step][row + i * row_step] = value[i];
  }
};

// The kSide values of a thread in one row of a tile: runs of four, 64 apart, so that a warp reads whole lines.
template <int kSide>
__device__ __forceinline__ void read_side(const float *row, int thread, float (&x)[kSide]) {
#pragma unroll
  for (int q = 0; q < kSide; q += 4) {
    const auto v = load_vector<float, 4>(row + q * 16 + thread * 4);
#pragma unroll
    for (int i = 0; i < 4; ++i) x[q + i] = v.value[i];
  }
}

// One block: a tile of 16 kSide rows and columns of one batch and one part of K (GemmParams). 256 threads, kSide^2 sums each;
// shared memory 4 * kTileDepth * (16 kSide + 4) floats. Outputs are overwritten.
template <int kSide, Activation kActivation, bool kSums>
__global__ void __launch_bounds__(kThreads, 2) gemm_f32_kernel(GemmParams p, int64_t tiles_m, int64_t tiles_n, int64_t batch,
                                                               bool aligned) {
  constexpr int kTile = 16 * kSide, kWidth = kTile + kPad, kStepK = kTileDepth<kSide>;
  __shared__ __align__(16) float tile_a[2][kStepK][kWidth];
  __shared__ __align__(16) float tile_b[2][kStepK][kWidth];
  int64_t index = blockIdx.x;
  const int64_t column0 = index % tiles_n * kTile;
  index /= tiles_n;
  const int64_t row0 = index % tiles_m * kTile;
  index /= tiles_m;
  const int64_t image = index % batch, part = index / batch;
  const int64_t k_begin = part * p.part_k;
  const int depth = static_cast<int>(min(p.k - k_begin, p.part_k));
  const int tx = static_cast<int>(threadIdx.x) % 16, ty = static_cast<int>(threadIdx.x) / 16;

  TileLoad<kSide> a(p.a, batch_start(p, p.a, image), row0, k_begin, p.m);
  TileLoad<kSide> b(p.b, batch_start(p, p.b, image), column0, k_begin, p.n);
  float sum[kSide][kSide] = {}, row_sum[kSums ? kSide : 1] = {};
  const bool sums_rows = kSums && column0 == 0 && image == 0;
  a.load(p.a, depth, p.round);
  b.load(p.b, depth, p.round);
  int stage = 0;
  for (int k = 0; k < depth; k += kStepK, stage ^= 1) {
    a.store(tile_a[stage]);
    b.store(tile_b[stage]);
    __syncthreads();
    // The other stage is read no more: every thread passed the barrier above behind its last use of it.
    a.load(p.a, depth - k - kStepK, p.round);
    b.load(p.b, depth - k - kStepK, p.round);
// Unrolled further, the loads run ahead of the registers there are.
#pragma unroll 2
    for (int i = 0; i < kStepK; ++i) {
      float left[kSide], right[kSide];
      read_side<kSide>(tile_a[stage][i], ty, left);
      read_side<kSide>(tile_b[stage][i], tx, right);
#pragma unroll
      for (int r = 0; r < kSide; ++r) {
#pragma unroll
        for (int c = 0; c < kSide; ++c) sum[r][c] = fmaf(left[r], right[c], sum[r][c]);
      }
      if constexpr (kSums) {
#pragma unroll
        for (int r = 0; r < kSide; ++r) row_sum[r] += left[r];
      }
    }
  }

#pragma unroll
  for (int r = 0; r < kSide; ++r) {
    const int64_t row = row0 + r / 4 * 64 + ty * 4 + r % 4;
    if (row >= p.m) continue;
    if constexpr (kSums) {
      if (sums_rows && tx == 0) (p.parts > 1 ? p.row_partial + part * p.m : p.row_sums)[row] = row_sum[r];
    }
#pragma unroll
    for (int q = 0; q < kSide; q += 4) {
      const int64_t column = column0 + q * 16 + tx * 4;
      const int64_t left = p.n - column;
      if (left <= 0) continue;
      float run[4] = {sum[r][q], sum[r][q + 1], sum[r][q + 2], sum[r][q + 3]};
      if (p.parts > 1) {
        store_run<4>(p.partial + ((part * batch + image) * p.m + row) * p.n, false, column, static_cast<int>(min(left, int64_t{4})),
                     aligned && left >= 4, run);
      } else {
        finish_run<kActivation, 4>(p.epilogue, (image * p.m + row) * p.n, column, static_cast<int>(min(left, int64_t{4})), aligned,
                                   run);
      }
    }
  }
}

template <int kSide, Activation kActivation, bool kSums>
void launch_tiles(LaunchCall &call, const GemmParams &p) {
  constexpr int64_t kTile = 16 * kSide;
  const int64_t tiles_m = (p.m + kTile - 1) / kTile, tiles_n = gemm_tiles_n(p, kTile), batch = gemm_batch(p);
  WM_LAUNCH((gemm_f32_kernel<kSide, kActivation, kSums>), dim3(blocks_for(tiles_m * tiles_n * batch * p.parts, 1)),
            dim3(kThreads), 0, call.stream(), p, tiles_m, tiles_n, batch, epilogue_aligned(p.epilogue, p.n));
}

template <int kSide>
void launch_f32(LaunchCall &call, const GemmParams &p, Activation activation) {
  if (p.row_sums != nullptr) return launch_tiles<kSide, Activation::none, true>(call, p);
  dispatch_activation(activation, [&](auto chosen) { launch_tiles<kSide, decltype(chosen)::value, false>(call, p); });
}

}  // namespace

void gemm_f32(LaunchCall &call, const GemmParams &params, Activation activation) {
  // Large tiles where they fill a device a few times over, or where few rows leave small ones no more blocks.
  const int64_t large = (params.m + 127) / 128 * ((params.n + 127) / 128) * gemm_batch(params) * params.parts;
  if (large >= 256) launch_f32<8>(call, params, activation);
  else launch_f32<4>(call, params, activation);
}

}  // namespace wm::cuda
