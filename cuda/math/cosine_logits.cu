// cosine_logits(x [N, P, D], w [S, D]; normalise, scale) -> [N, S, P] = scale <x_p / |x_p|, w_s> (kernels.md G3), and its
// gradients. The threads that fetch x for the product add up its squares on the way, and the division by |x_p| happens on the
// finished sums: x is read once a tile of names and never stored in normalised form. Sums are f32. Expected limiter: the
// FMA units from about 200 names on, below that the latency of the chain over D.
#include <algorithm>

#include "cuda/math/bf16_operand.h"
#include "cuda/math/cosine_logits.h"
#include "cuda/math/gemm.h"
#include "cuda/math/rows.cuh"
#include "cuda/math/tile_f32.cuh"

namespace wm::cuda {

namespace {

// Rows of a matrix [rows, d]; kSquares: sums of the squares of what this thread fetched.
template <class Shape, class T, bool kSquares>
class RowLoad {
 public:
  static constexpr bool kAlongK = true;

  __device__ RowLoad(const T *matrix, int64_t row0, int64_t rows, int64_t d, bool aligned) : aligned_(aligned) {
    const int64_t row = row0 + TilePlace<Shape, true>::row();
    row_ = row < rows ? matrix + row * d : nullptr;
  }

  __device__ __forceinline__ void load(int64_t step, int64_t end, float (&v)[kTileLoads]) {
    const int64_t k = step + TilePlace<Shape, true>::k();
#pragma unroll
    for (int i = 0; i < kTileLoads; ++i) v[i] = 0.0f;
    if (row_ == nullptr || k >= end) return;
    if (aligned_) {
      load_values(row_ + k, true, v);
    } else {
#pragma unroll
      for (int i = 0; i < kTileLoads; ++i) {
        if (k + i < end) v[i] = to_float(row_[k + i]);
      }
    }
    if constexpr (kSquares) {
      float sum = squares;
#pragma unroll
      for (int i = 0; i < kTileLoads; ++i) sum += v[i] * v[i];
      squares = sum;
    }
  }

  float squares = 0.0f;

 private:
  const T *row_;
  bool aligned_;
};

// A tile of 16 kSide names and patches of one image a block; 256 threads, 18 KiB shared at most. out (=).
template <int kSide, class X>
__global__ void __launch_bounds__(kTileThreads, 2)
cosine_logits_kernel(CosineParams p, unsigned tiles_s, unsigned tiles_p) {
  using Shape = TileShape<kSide>;
  constexpr int kTile = Shape::kTile, kRuns = TilePlace<Shape, true>::kRuns;
  __shared__ TileShared<Shape> shared;
  __shared__ float squares[kTile][kRuns], factor[kTile];
  const unsigned tile = blockIdx.x % (tiles_s * tiles_p);
  const int64_t image = blockIdx.x / (tiles_s * tiles_p);
  const int64_t row0 = static_cast<int64_t>(tile % tiles_s) * kTile, column0 = static_cast<int64_t>(tile / tiles_s) * kTile;
  RowLoad<Shape, float, false> a(p.w, row0, p.s, p.d, p.aligned);
  RowLoad<Shape, X, true> b(static_cast<const X *>(p.x) + image * p.patches * p.d, column0, p.patches, p.d, p.aligned);
  float sum[kSide][kSide] = {};
  tile_product<Shape>(a, b, 0, p.d, shared, sum);
  squares[TilePlace<Shape, true>::row()][TilePlace<Shape, true>::k() / kTileLoads] = b.squares;
  __syncthreads();
  if (threadIdx.x < kTile) {
    float total = 0.0f;
    for (int i = 0; i < kRuns; ++i) total += squares[threadIdx.x][i];
    factor[threadIdx.x] = p.normalise ? p.scale / fmaxf(sqrtf(total), kMinCosineLength) : p.scale;
  }
  __syncthreads();
  const int tx = static_cast<int>(threadIdx.x) % 16, ty = static_cast<int>(threadIdx.x) / 16;
#pragma unroll
  for (int r = 0; r < kSide; ++r) {
    const int64_t row = row0 + tile_index(ty, r);
    if (row >= p.s) continue;
    float *out = p.out + (image * p.s + row) * p.patches;
#pragma unroll
    for (int c = 0; c < kSide; ++c) {
      const int64_t column = column0 + tile_index(tx, c);
      if (column < p.patches) out[column] = sum[r][c] * factor[tile_index(tx, c)];
    }
  }
}

// The one accepted combination of dtypes besides all-equal is bf16 x with f32 everywhere else.
CosineParams make_params(const LaunchCall &call) {
  const TensorView &x = call.in(0), &w = call.in(1);
  if (x.ndim != 3 || w.ndim != 2 || x.dim(2) != w.dim(1)) call.reject("x must be [N, P, D] and w [S, D]");
  if ((x.dtype != DType::f32 && x.dtype != DType::bf16) || w.dtype != DType::f32)
    call.reject("takes x f32 or bf16 with w f32 on this device");
  CosineParams p;
  p.x = x.data;
  p.w = w.as<const float>();
  p.out = nullptr;
  p.batch = x.dim(0);
  p.patches = x.dim(1);
  p.d = x.dim(2);
  p.s = w.dim(0);
  p.scale = static_cast<float>(call.attr(1));
  p.normalise = call.attr_flag(0);
  p.aligned = p.d % kTileLoads == 0 && aligned16(p.x) && aligned16(p.w);
  return p;
}

template <class X>
void forward(LaunchCall &call, const CosineParams &p) {
  const auto launch = [&](auto side) {
    constexpr int kSide = decltype(side)::value, kTile = TileShape<kSide>::kTile;
    const unsigned tiles_s = blocks_for(p.s, kTile), tiles_p = blocks_for(p.patches, kTile);
    const unsigned blocks = blocks_for(static_cast<int64_t>(tiles_s) * tiles_p * p.batch, 1);
    WM_LAUNCH((cosine_logits_kernel<kSide, X>), dim3(blocks), dim3(kTileThreads), 0, call.stream(), p, tiles_s, tiles_p);
  };
  // The lengths are summed in an order that depends on the tile, so the tile follows from the names alone.
  if (p.s >= 512) launch(std::integral_constant<int, 8>{});
  else launch(std::integral_constant<int, 4>{});
}

void cosine_logits(LaunchCall &call) {
  CosineParams p = make_params(call);
  const TensorView &out = call.out(0);
  if (out.numel() != p.batch * p.s * p.patches || out.dtype != DType::f32) call.reject("the output must be [N, S, P]");
  if (out.numel() == 0) return;
  p.out = out.as<float>();
  if (call.in(0).dtype == DType::f32) return forward<float>(call, p);
  // The tier follows from dtype and width alone.
  if (call.tier() < 2 || p.d % 8 != 0) return forward<bf16>(call, p);
  p.x = bf16_operand(call, p.x, DType::bf16, call.in(0).numel());
  cosine_logits_mma(call, p);
}

constexpr int kRowThreads = 128, kRowWarps = kRowThreads / 32;

// x [rows, d] -> 1 / |x_r| (=), or 1 without normalisation. One warp a row, four rows a block.
template <class X>
__global__ void __launch_bounds__(kRowThreads)
inverse_lengths_kernel(const X *x, float *inverse, int64_t rows, int64_t d, bool normalise) {
  const int64_t r = static_cast<int64_t>(blockIdx.x) * kRowWarps + threadIdx.x / 32;
  float squares = 0.0f;
  if (r < rows) {
    for (int64_t i = threadIdx.x % 32; i < d; i += 32) {
      const float value = to_float(x[r * d + i]);
      squares += value * value;
    }
  }
  squares = warp_sum(squares);
  if (r < rows && threadIdx.x % 32 == 0) inverse[r] = normalise ? 1.0f / fmaxf(sqrtf(squares), kMinCosineLength) : 1.0f;
}

// g [batch, s, patches] -> scaled [s, batch, patches] (=) scale g / |x|: what both gradients multiply. 256 threads a block.
__global__ void __launch_bounds__(kTileThreads)
scale_gradient_kernel(const float *g, const float *inverse, float *scaled, CosineParams p) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kTileThreads + threadIdx.x;
  const int64_t columns = p.batch * p.patches;
  if (i >= p.s * columns) return;
  const int64_t s = i / columns, column = i % columns, n = column / p.patches;
  scaled[i] = g[(n * p.s + s) * p.patches + column % p.patches] * (p.scale * inverse[column]);
}

// dx (=) v - x <x, v> / |x|^2, the part of v across x. One warp a row, four rows a block.
template <class X>
__global__ void __launch_bounds__(kRowThreads)
project_kernel(const X *x, const float *v, const float *inverse, X *dx, int64_t rows, int64_t d, bool normalise) {
  const int64_t r = static_cast<int64_t>(blockIdx.x) * kRowWarps + threadIdx.x / 32;
  float along = 0.0f;
  if (r < rows && normalise) {
    for (int64_t i = threadIdx.x % 32; i < d; i += 32) along += to_float(x[r * d + i]) * v[r * d + i];
  }
  along = warp_sum(along);
  if (r >= rows) return;
  // Where the length was clamped it is a constant, and nothing is projected out.
  const bool project = normalise && inverse[r] < 1.0f / kMinCosineLength;
  along = project ? along * inverse[r] * inverse[r] : 0.0f;
  for (int64_t i = threadIdx.x % 32; i < d; i += 32)
    dx[r * d + i] = from_float<X>(v[r * d + i] - along * to_float(x[r * d + i]));
}

// dw [S, D] = g' [S, N P] x [N P, D]
void weight_gradient(LaunchCall &call, const CosineParams &p, DType x_dtype, const float *scaled) {
  GemmArgs args;
  args.params.m = p.s;
  args.params.n = p.d;
  args.params.k = p.batch * p.patches;
  args.params.a.data = scaled;
  args.params.a.row_stride = args.params.k;
  args.params.a.k_stride = 1;
  args.params.b.data = p.x;
  args.params.b.dtype = x_dtype;
  args.params.b.row_stride = 1;
  args.params.b.k_stride = p.d;
  args.params.epilogue.out = call.out(0).data;
  args.parts = std::clamp<int64_t>(args.params.k / 2048, 1, 16);
  gemm(call, args);
}

// v [N, P, D] = g'^T w
float *patch_products(LaunchCall &call, const CosineParams &p, const float *scaled) {
  auto *v = call.workspace<float>(std::max<int64_t>(1, p.batch * p.patches * p.d));
  GemmArgs args;
  args.params.m = p.batch * p.patches;
  args.params.n = p.d;
  args.params.k = p.s;
  args.params.a.data = scaled;
  args.params.a.row_stride = 1;
  args.params.a.k_stride = args.params.m;
  args.params.b.data = p.w;
  args.params.b.row_stride = 1;
  args.params.b.k_stride = p.d;
  args.params.epilogue.out = v;
  gemm(call, args);
  return v;
}

template <class X>
void backward(LaunchCall &call, const CosineParams &p, bool of_weight) {
  const int64_t rows = p.batch * p.patches;
  const X *x = static_cast<const X *>(p.x);
  auto *inverse = call.workspace<float>(std::max<int64_t>(1, rows));
  auto *scaled = call.workspace<float>(std::max<int64_t>(1, p.s * rows));
  const dim3 row_blocks(blocks_for(rows, kRowWarps));
  WM_LAUNCH((inverse_lengths_kernel<X>), row_blocks, dim3(kRowThreads), 0, call.stream(), x, inverse, rows, p.d,
            p.normalise);
  WM_LAUNCH(scale_gradient_kernel, dim3(blocks_for(p.s * rows, kTileThreads)), dim3(kTileThreads), 0, call.stream(),
            call.in(2).as<const float>(), static_cast<const float *>(inverse), scaled, p);
  if (of_weight) return weight_gradient(call, p, call.in(0).dtype, scaled);
  const float *v = patch_products(call, p, scaled);
  WM_LAUNCH((project_kernel<X>), row_blocks, dim3(kRowThreads), 0, call.stream(), x, v,
            static_cast<const float *>(inverse), call.out(0).as<X>(), rows, p.d, p.normalise);
}

// cosine_logits_bwd(x, w, g [N, S, P]; normalise, scale, ofWeight) -> dx, or dw with ofWeight.
void cosine_logits_bwd(LaunchCall &call) {
  const CosineParams p = make_params(call);
  const bool of_weight = call.attr_flag(2);
  const TensorView &g = call.in(2), &out = call.out(0), &like = call.in(of_weight ? 1 : 0);
  if (g.numel() != p.batch * p.s * p.patches || g.dtype != DType::f32) call.reject("g must be f32 [N, S, P]");
  if (out.numel() != like.numel() || out.dtype != like.dtype)
    call.reject("the output must be like the input it is of");
  if (call.in(0).dtype == DType::bf16) backward<bf16>(call, p, of_weight);
  else backward<float>(call, p, of_weight);
}

}  // namespace

WM_REGISTER_CUDA_OP(cosine_logits, cosine_logits, kContiguous)
WM_REGISTER_CUDA_OP(cosine_logits_bwd, cosine_logits_bwd, kContiguous)

}  // namespace wm::cuda
