// Scaling of rows, one warp or block a row. l2_normalise: y = x / max(|x|, eps) over the last axis; its gradient is
//   dx = (dy - y <y, dy>) / |x|, or dy / eps where |x| <= eps.        Attribute: eps
// min_max_scale: y = (x - min) / (max - min + eps) over the last `dims` axes; a constant map gives 0, a map with a NaN NaN.
//   Attributes: dims, eps. Floor: each tensor once through memory, the expected limiter up to 16384 values a row.
#include "cuda/math/rows.cuh"

namespace wm::cuda {

namespace {

// x [rows, width] -> y (=). One warp or block a row, 128 to 1024 threads, 128 B shared.
template <class T, class Form>
__global__ void __launch_bounds__(Form::kThreads)
l2_normalise_kernel(const T *x, T *y, int64_t rows, int width, float eps, bool aligned) {
  __shared__ float shared[32];
  const int64_t r = Form::row();
  if (r >= rows) return;  // whole warps of the warp form alone: nobody waits for them
  Row<T, Form> row(x + r * width, width, aligned);
  float squares = 0.0f;
  row.visit([&](float(&v)[Form::kPack], int) {
#pragma unroll
    for (float value : v) squares += value * value;
  });
  const float inverse = 1.0f / fmaxf(sqrtf(Form::sum(squares, shared)), eps);
  T *out = y + r * width;
  row.visit([&](float(&v)[Form::kPack], int column) {
    float result[Form::kPack];
#pragma unroll
    for (int i = 0; i < Form::kPack; ++i) result[i] = v[i] * inverse;
    store_values(out + column, aligned, result);
  });
}

// x, dy [rows, width] -> dx (=). One warp or block a row, 128 to 1024 threads, 128 B shared.
template <class T, class Form>
__global__ void __launch_bounds__(Form::kThreads)
l2_normalise_bwd_kernel(const T *x, const T *dy, T *dx, int64_t rows, int width, float eps, bool aligned) {
  __shared__ float shared[32];
  const int64_t r = Form::row();
  if (r >= rows) return;
  Row<T, Form> row(x + r * width, width, aligned), upstream(dy + r * width, width, aligned);
  float squares = 0.0f, along = 0.0f;
  row.visit_with(upstream, [&](float(&v)[Form::kPack], float(&g)[Form::kPack], int) {
#pragma unroll
    for (int i = 0; i < Form::kPack; ++i) {
      squares += v[i] * v[i];
      along += v[i] * g[i];
    }
  });
  const float norm = sqrtf(Form::sum(squares, shared));
  along = Form::sum(along, shared);
  const float inverse = 1.0f / fmaxf(norm, eps);
  // Where the length was clamped it is a constant.
  const float share = norm > eps ? along * inverse * inverse * inverse : 0.0f;
  T *out = dx + r * width;
  row.visit_with(upstream, [&](float(&v)[Form::kPack], float(&g)[Form::kPack], int column) {
    float result[Form::kPack];
#pragma unroll
    for (int i = 0; i < Form::kPack; ++i) result[i] = g[i] * inverse - v[i] * share;
    store_values(out + column, aligned, result);
  });
}

// x [maps, width] -> y (=). One warp or block a map, 128 to 1024 threads, 128 B shared.
template <class T, class Form>
__global__ void __launch_bounds__(Form::kThreads)
min_max_scale_kernel(const T *x, T *y, int64_t maps, int width, float eps, bool aligned) {
  __shared__ float shared[32];
  const int64_t r = Form::row();
  if (r >= maps) return;
  Row<T, Form> map(x + r * width, width, aligned);
  // The maxima ignore a NaN; a sum of x - x (0, or NaN from a NaN or an infinity) does not.
  float high = -INFINITY, negative_low = -INFINITY, poison = 0.0f;
  map.visit([&](float(&v)[Form::kPack], int) {
#pragma unroll
    for (float value : v) {
      high = fmaxf(high, value);
      negative_low = fmaxf(negative_low, -value);
      poison += value != value ? value : 0.0f;
    }
  });
  high = Form::max(high, shared);
  const float low = -Form::max(negative_low, shared);
  const float range = high - low + Form::sum(poison, shared);
  // `range != 0` keeps NaN.
  const float scale = range != 0.0f ? 1.0f / (range + eps) : 0.0f;
  T *out = y + r * width;
  map.visit([&](float(&v)[Form::kPack], int column) {
    float result[Form::kPack];
#pragma unroll
    for (int i = 0; i < Form::kPack; ++i) result[i] = (v[i] - low) * scale;
    store_values(out + column, aligned, result);
  });
}

void check_rows(const LaunchCall &call, const TensorView &x) {
  if (x.ndim < 1) call.reject("x must have a last axis");
  for (int i = 0; i < call.num_inputs(); ++i) {
    if (call.in(i).dtype != x.dtype || call.in(i).numel() != x.numel()) call.reject("inputs must match");
  }
  if (call.out(0).dtype != x.dtype || call.out(0).numel() != x.numel()) call.reject("output must match x");
}

void l2_normalise(LaunchCall &call) {
  const TensorView &x = call.in(0);
  check_rows(call, x);
  if (x.numel() == 0) return;
  const int64_t width = x.dim(-1), rows = x.numel() / width;
  const auto eps = static_cast<float>(call.attr(0));
  dispatch_float(call, x.dtype, [&](auto zero) {
    using T = decltype(zero);
    const T *from = x.as<const T>();
    T *to = call.out(0).as<T>();
    dispatch_rows<row_pack<T>()>(call, width, [&](auto form) {
      using Form = decltype(form);
      WM_LAUNCH((l2_normalise_kernel<T, Form>), row_grid<Form>(rows), dim3(Form::kThreads), 0, call.stream(), from, to,
                rows, static_cast<int>(width), eps, aligned16(from) && aligned16(to));
    });
  });
}

void l2_normalise_bwd(LaunchCall &call) {
  const TensorView &x = call.in(0);
  check_rows(call, x);
  if (x.numel() == 0) return;
  const int64_t width = x.dim(-1), rows = x.numel() / width;
  const auto eps = static_cast<float>(call.attr(0));
  dispatch_float(call, x.dtype, [&](auto zero) {
    using T = decltype(zero);
    const T *from = x.as<const T>(), *dy = call.in(1).as<const T>();
    T *to = call.out(0).as<T>();
    dispatch_rows<row_pack<T>()>(call, width, [&](auto form) {
      using Form = decltype(form);
      WM_LAUNCH((l2_normalise_bwd_kernel<T, Form>), row_grid<Form>(rows), dim3(Form::kThreads), 0, call.stream(), from,
                dy, to, rows, static_cast<int>(width), eps, aligned16(from) && aligned16(dy) && aligned16(to));
    });
  });
}

void min_max_scale(LaunchCall &call) {
  const TensorView &x = call.in(0);
  check_rows(call, x);
  const int64_t dims = call.attr_int(0);
  if (dims < 1 || dims > x.ndim) call.reject("dims %lld for rank %d", static_cast<long long>(dims), x.ndim);
  if (x.numel() == 0) return;
  int64_t width = 1;
  for (int d = x.ndim - static_cast<int>(dims); d < x.ndim; ++d) width *= x.shape[d];
  const int64_t maps = x.numel() / width;
  const auto eps = static_cast<float>(call.attr(1));
  dispatch_float(call, x.dtype, [&](auto zero) {
    using T = decltype(zero);
    const T *from = x.as<const T>();
    T *to = call.out(0).as<T>();
    dispatch_rows<row_pack<T>()>(call, width, [&](auto form) {
      using Form = decltype(form);
      WM_LAUNCH((min_max_scale_kernel<T, Form>), row_grid<Form>(maps), dim3(Form::kThreads), 0, call.stream(), from, to,
                maps, static_cast<int>(width), eps, aligned16(from) && aligned16(to));
    });
  });
}

}  // namespace

WM_REGISTER_CUDA_OP(l2_normalise, l2_normalise, kContiguous)
WM_REGISTER_CUDA_OP(l2_normalise_bwd, l2_normalise_bwd, kContiguous)
WM_REGISTER_CUDA_OP(min_max_scale, min_max_scale, kContiguous)

}  // namespace wm::cuda
