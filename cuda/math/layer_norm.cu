// LayerNorm over the last axis: y = (x - mean) / sqrt(variance + eps) * gain + bias, statistics in f32, the second pass over
// deviations (kernels.md N1). x and y: f32, bf16, f16, or f32 in and bf16 out; gain and bias: any of them, either may be
// missing. Attributes: eps, bf16Out. Backward, with h = (x - mean) rstd and g = dy gain:
//   dx = rstd (g - mean(g) - h mean(g h)) + before,  dgain = sum over rows of dy h,  dbias = sum over rows of dy.
// Floor: each tensor once through memory, which is the expected limiter.
#include "cuda/math/columns.cuh"
#include "cuda/math/rows.cuh"

#include <algorithm>
#include <initializer_list>
#include <type_traits>

namespace wm::cuda {

namespace {

// gain or bias as f32; where there is none, a constant.
template <class P, int kCount>
__device__ __forceinline__ void load_parameter(const P *row, int column, bool aligned, float missing,
                                               float (&to)[kCount]) {
  if (row != nullptr) {
    load_values(row + column, aligned, to);
  } else {
#pragma unroll
    for (float &value : to) value = missing;
  }
}

// x [n] -> y (=). 256 threads a block.
template <class T>
__global__ void widen_kernel(const T *x, float *y, int64_t n) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < n) y[i] = to_float(x[i]);
}

// A parameter row in dtype `like`; one of another dtype is widened to a copy, and `like` must then be f32.
const void *parameter_row(LaunchCall &call, int input, int64_t width, DType like) {
  if (!call.has(input)) return nullptr;
  const TensorView &view = call.in(input);
  if (view.dtype == like) return view.data;
  auto *copy = call.workspace<float>(width);
  dispatch_float(call, view.dtype, [&](auto zero) {
    using T = decltype(zero);
    WM_LAUNCH((widen_kernel<T>), dim3(blocks_for(width, 256)), dim3(256), 0, call.stream(), view.as<const T>(), copy,
              width);
  });
  return copy;
}

// The dtype in which parameter rows are read: that of x where all of them have it, else f32.
DType parameter_dtype(const LaunchCall &call, std::initializer_list<int> inputs, int64_t width) {
  DType dtype = call.in(0).dtype;
  for (const int i : inputs) {
    if (!call.has(i)) continue;
    if (call.in(i).numel() != width) call.reject("input %d must have %lld values", i, static_cast<long long>(width));
    if (call.in(i).dtype != dtype) dtype = DType::f32;
  }
  return dtype;
}

struct RowStatistics {
  float mean, rstd;
};

template <class T, class Form>
__device__ RowStatistics statistics(Row<T, Form> &row, int width, float eps, float *shared) {
  float sum = 0.0f;
  row.visit([&](float(&v)[Form::kPack], int) {
#pragma unroll
    for (float value : v) sum += value;
  });
  const float mean = Form::sum(sum, shared) / static_cast<float>(width);
  float squares = 0.0f;
  row.visit([&](float(&v)[Form::kPack], int) {
#pragma unroll
    for (float value : v) squares += (value - mean) * (value - mean);
  });
  return {mean, 1.0f / sqrtf(Form::sum(squares, shared) / static_cast<float>(width) + eps)};
}

// x [rows, width] -> y (=). One warp or block a row, 128 to 1024 threads, 128 B shared.
template <class T, class Out, class P, class Form>
__global__ void __launch_bounds__(Form::kThreads)
layer_norm_fwd_kernel(const T *x, const P *gain, const P *bias, Out *y, int64_t rows, int width, float eps,
                      bool aligned) {
  __shared__ float shared[32];
  const int64_t r = Form::row();
  if (r >= rows) return;  // whole warps of the warp form alone: nobody waits for them
  Row<T, Form> row(x + r * width, width, aligned);
  const RowStatistics s = statistics(row, width, eps, shared);
  Out *out = y + r * width;
  row.visit([&](float(&v)[Form::kPack], int column) {
    float scale[Form::kPack], shift[Form::kPack], result[Form::kPack];
    load_parameter(gain, column, aligned, 1.0f, scale);
    load_parameter(bias, column, aligned, 0.0f, shift);
#pragma unroll
    for (int i = 0; i < Form::kPack; ++i) result[i] = (v[i] - s.mean) * s.rstd * scale[i] + shift[i];
    store_values(out + column, aligned, result);
  });
}

template <class T, class Out, class P>
void forward(LaunchCall &call, int64_t width) {
  const TensorView &view = call.in(0);
  const T *x = view.as<const T>();
  Out *y = call.out(0).as<Out>();
  const DType dtype = std::is_same_v<P, float> ? DType::f32 : view.dtype;
  const auto *gain = static_cast<const P *>(parameter_row(call, 1, width, dtype));
  const auto *bias = static_cast<const P *>(parameter_row(call, 2, width, dtype));
  const auto eps = static_cast<float>(call.attr(0));
  const bool aligned = aligned16(x) && aligned16(y) && aligned16(gain) && aligned16(bias);
  const int64_t rows = view.numel() / width;
  dispatch_rows<row_pack<T, Out>()>(call, width, [&](auto form) {
    using Form = decltype(form);
    WM_LAUNCH((layer_norm_fwd_kernel<T, Out, P, Form>), row_grid<Form>(rows), dim3(Form::kThreads), 0, call.stream(), x,
              gain, bias, y, rows, static_cast<int>(width), eps, aligned);
  });
}

void layer_norm(LaunchCall &call) {
  const TensorView &x = call.in(0), &y = call.out(0);
  if (x.ndim < 1 || y.numel() != x.numel()) call.reject("x must have a last axis");
  const int64_t width = x.dim(-1);
  const DType parameters = parameter_dtype(call, {1, 2}, width);
  if (x.numel() == 0) return;
  if (x.dtype == DType::f32 && y.dtype == DType::bf16) return forward<float, bf16, float>(call, width);
  if (y.dtype != x.dtype) call.reject("%s in, %s out", dtype_name(x.dtype), dtype_name(y.dtype));
  dispatch_float(call, x.dtype, [&](auto zero) {
    using T = decltype(zero);
    if (parameters == DType::f32) forward<T, T, float>(call, width);
    else forward<T, T, T>(call, width);
  });
}

constexpr int kWarps = 8;  // of a block of the backward kernel: rows worked at a time

struct BackwardParams {
  const void *x, *dy, *before;
  void *dx;
  const void *gain;
  float *partial;  // [parts, 2, width]: sums of dy h, then of dy
  int64_t rows, rows_of_part;
  int width;
  float eps;
  bool aligned, shared_sums;
};

// dx of one row, by one warp.
template <class T, class D, class P, class Form>
__device__ RowStatistics backward_row(const BackwardParams &p, int64_t r) {
  Row<T, Form> row(static_cast<const T *>(p.x) + r * p.width, p.width, p.aligned);
  Row<D, Form> upstream(static_cast<const D *>(p.dy) + r * p.width, p.width, p.aligned);
  const RowStatistics s = statistics(row, p.width, p.eps, nullptr);
  float sum_g = 0.0f, sum_gh = 0.0f;
  row.visit_with(upstream, [&](float(&x)[Form::kPack], float(&dy)[Form::kPack], int column) {
    float gain[Form::kPack];
    load_parameter(static_cast<const P *>(p.gain), column, p.aligned, 1.0f, gain);
#pragma unroll
    for (int i = 0; i < Form::kPack; ++i) {
      sum_g += dy[i] * gain[i];
      sum_gh += dy[i] * gain[i] * ((x[i] - s.mean) * s.rstd);
    }
  });
  const float mean_g = warp_sum(sum_g) / static_cast<float>(p.width);
  const float mean_gh = warp_sum(sum_gh) / static_cast<float>(p.width);
  const T *before = static_cast<const T *>(p.before);
  T *out = static_cast<T *>(p.dx) + r * p.width;
  row.visit_with(upstream, [&](float(&x)[Form::kPack], float(&dy)[Form::kPack], int column) {
    float gain[Form::kPack], result[Form::kPack];
    load_parameter(static_cast<const P *>(p.gain), column, p.aligned, 1.0f, gain);
#pragma unroll
    for (int i = 0; i < Form::kPack; ++i)
      result[i] = s.rstd * (dy[i] * gain[i] - mean_g - (x[i] - s.mean) * s.rstd * mean_gh);
    if (before != nullptr) {
      float sum[Form::kPack];
      load_values(before + r * p.width + column, p.aligned, sum);
#pragma unroll
      for (int i = 0; i < Form::kPack; ++i) result[i] += sum[i];
    }
    store_values(out + column, p.aligned, result);
  });
  return s;
}

// x, dy [rows, width] -> dx (=) and one row of partial (=) a block. 256 threads; eight rows at a time: first a warp takes
// a row, then a thread takes columns of all eight, read again from the first-level cache. Sums of columns lie in shared
// memory (8 bytes a column) where they fit, else in `partial`; each has one thread that ever touches it.
template <class T, class D, class P, class Form>
__global__ void __launch_bounds__(kWarps * 32, 2) layer_norm_bwd_kernel(BackwardParams p) {
  WM_DYNAMIC_SHARED(float, shared_sums);
  __shared__ RowStatistics stats[kWarps];
  constexpr int kPack = Form::kPack;
  const int warp = static_cast<int>(threadIdx.x / 32), step = static_cast<int>(blockDim.x) * kPack;
  const int first_column = static_cast<int>(threadIdx.x) * kPack;
  const int64_t begin = blockIdx.x * p.rows_of_part, end = min(begin + p.rows_of_part, p.rows);
  float *partial = p.partial + static_cast<int64_t>(blockIdx.x) * 2 * p.width;
  float *dgain = p.shared_sums ? shared_sums : partial, *dbias = dgain + p.width;
  for (int c = first_column; c < p.width; c += step) {
    for (int i = 0; i < kPack; ++i) dgain[c + i] = dbias[c + i] = 0.0f;
  }
  for (int64_t first = begin; first < end; first += kWarps) {
    const int count = static_cast<int>(min(end - first, static_cast<int64_t>(kWarps)));
    if (warp < count) {
      const RowStatistics s = backward_row<T, D, P, Form>(p, first + warp);
      if (threadIdx.x % 32 == 0) stats[warp] = s;
    }
    __syncthreads();
    for (int c = first_column; c < p.width; c += step) {
      float of_gain[kPack], of_bias[kPack];
#pragma unroll
      for (int i = 0; i < kPack; ++i) {
        of_gain[i] = dgain[c + i];
        of_bias[i] = dbias[c + i];
      }
#pragma unroll 2
      for (int r = 0; r < count; ++r) {
        const int64_t at = (first + r) * p.width + c;
        float x[kPack], dy[kPack];
        load_values(static_cast<const T *>(p.x) + at, p.aligned, x);
        load_values(static_cast<const D *>(p.dy) + at, p.aligned, dy);
        const RowStatistics s = stats[r];
#pragma unroll
        for (int i = 0; i < kPack; ++i) {
          of_gain[i] += dy[i] * ((x[i] - s.mean) * s.rstd);
          of_bias[i] += dy[i];
        }
      }
#pragma unroll
      for (int i = 0; i < kPack; ++i) {
        dgain[c + i] = of_gain[i];
        dbias[c + i] = of_bias[i];
      }
    }
    __syncthreads();
  }
  if (!p.shared_sums) return;
  for (int c = first_column; c < p.width; c += step) {
    for (int i = 0; i < kPack; ++i) {
      partial[c + i] = dgain[c + i];
      partial[p.width + c + i] = dbias[c + i];
    }
  }
}

// Rows of a part: from the number of rows alone. Eight is one round of a block; at most 512 parts.
int64_t rows_of_part(int64_t rows) { return std::max<int64_t>(kWarps, (rows + 512 * kWarps - 1) / (512 * kWarps) * kWarps); }

void sum_parts(LaunchCall &call, const float *partial, int64_t parts, int64_t width, const TensorView &out) {
  if (out.numel() != width) call.reject("parameter gradients must have %lld values", static_cast<long long>(width));
  dispatch_float(call, out.dtype, [&](auto zero) {
    using Out = decltype(zero);
    join_parts(call, partial, parts, 2 * width, width, 1.0f, out.as<Out>());
  });
}

template <class T, class D, class P>
void launch_backward(LaunchCall &call, BackwardParams &p, unsigned parts) {
  const size_t shared = p.shared_sums ? static_cast<size_t>(p.width) * 2 * sizeof(float) : 0;
  const auto launch = [&](auto form) {
    using Form = decltype(form);
    WM_LAUNCH((layer_norm_bwd_kernel<T, D, P, Form>), dim3(parts), dim3(kWarps * 32), shared, call.stream(), p);
  };
  // A warp a row whatever its width: beyond 1024 values the row is read again from the caches.
  constexpr int kPack = row_pack<T, D>();
  if (p.width % kPack != 0) return p.width <= 256 ? launch(RowForm<32, 1, 8>{}) : launch(RowForm<32, 1, 0>{});
  if (p.width <= 256) return launch(RowForm<32, kPack, 8 / kPack>{});
  if (p.width <= 768) return launch(RowForm<32, kPack, 24 / kPack>{});
  if (p.width <= 1024) return launch(RowForm<32, kPack, 32 / kPack>{});
  launch(RowForm<32, kPack, 0>{});
}

template <class T, class D, class P>
void backward(LaunchCall &call, int64_t width) {
  const TensorView &x = call.in(0);
  if (width > (int64_t{1} << 30)) call.reject("rows of %lld values are too long", static_cast<long long>(width));
  BackwardParams p;
  p.x = x.data;
  p.dy = call.in(2).data;
  p.before = call.has(3) ? call.in(3).data : nullptr;
  p.dx = call.out(0).data;
  p.gain = parameter_row(call, 1, width, std::is_same_v<P, float> ? DType::f32 : x.dtype);
  p.rows = width == 0 ? 0 : x.numel() / width;
  p.rows_of_part = rows_of_part(p.rows);
  p.width = static_cast<int>(width);
  p.eps = static_cast<float>(call.attr(0));
  p.aligned = aligned16(p.x) && aligned16(p.dy) && aligned16(p.before) && aligned16(p.dx) && aligned16(p.gain);
  p.shared_sums = static_cast<size_t>(width) * 2 * sizeof(float) + 1024 <= call.shared_limit();
  const int64_t parts = (p.rows + p.rows_of_part - 1) / p.rows_of_part;
  p.partial = call.workspace<float>(std::max<int64_t>(1, parts * 2 * width));
  if (parts > 0) launch_backward<T, D, P>(call, p, static_cast<unsigned>(parts));
  sum_parts(call, p.partial, parts, width, call.out(1));
  sum_parts(call, p.partial + width, parts, width, call.out(2));
}

void layer_norm_bwd(LaunchCall &call) {
  const TensorView &x = call.in(0);
  if (x.ndim < 1 || call.in(2).numel() != x.numel()) call.reject("dy must match x");
  if (call.has(3) && (call.in(3).dtype != x.dtype || call.in(3).numel() != x.numel())) call.reject("before must match x");
  if (call.out(0).dtype != x.dtype || call.out(0).numel() != x.numel()) call.reject("dx must match x");
  const int64_t width = x.dim(-1);
  const DType parameters = parameter_dtype(call, {1}, width);
  if (x.dtype == DType::f32 && call.in(2).dtype == DType::bf16) return backward<float, bf16, float>(call, width);
  if (call.in(2).dtype != x.dtype) call.reject("dy must have x's dtype or, beside f32, bf16");
  dispatch_float(call, x.dtype, [&](auto zero) {
    using T = decltype(zero);
    if (parameters == DType::f32) backward<T, T, float>(call, width);
    else backward<T, T, T>(call, width);
  });
}

}  // namespace

WM_REGISTER_CUDA_OP(layer_norm, layer_norm, kContiguous)
WM_REGISTER_CUDA_OP(layer_norm_bwd, layer_norm_bwd, kContiguous)

}  // namespace wm::cuda
