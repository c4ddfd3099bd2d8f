// Cross-entropy of each row against a class index, softmax fused: loss[r] = log sum_c exp(x[r, c]) - x[r, target[r]], f32.
// A row whose target is `ignore` has loss 0 and gradient 0. Attribute: ignore.
// Backward: dx[r, c] = (softmax(x[r])[c] - (c == target[r])) dy[r].
// A target outside 0..C-1 is refused; such a row's loss and gradient are NaN, and nothing is read for it.
// Floor: the logits once through memory (backward: twice), which is the expected limiter.
#include "cuda/math/rows.cuh"

#include <cmath>

namespace wm::cuda {

namespace {

struct Problem {
  const int32_t *target;
  int64_t rows, ignore;
  int classes;
  bool aligned;
  Refusal refusal;

  // Whether the row has a class; what is neither that nor `ignore` is refused.
  __device__ bool known(int64_t row, int32_t t) const {
    if (t != ignore && (t < 0 || t >= classes)) refusal.at(row, t);
    return t >= 0 && t < classes;
  }
};

// Largest value of a row and the sum of exp(x - max), which a kept row then holds.
template <class T, class Form>
__device__ float exp_sum(Row<T, Form> &row, float *shared, float *top) {
  float high = -INFINITY;
  row.visit([&](float(&v)[Form::kPack], int) {
#pragma unroll
    for (float value : v) high = fmaxf(high, value);
  });
  high = Form::max(high, shared);
  float total = 0.0f;
  row.visit([&](float(&v)[Form::kPack], int) {
#pragma unroll
    for (float &value : v) {
      value = expf(value - high);
      total += value;
    }
  });
  *top = high;
  return Form::sum(total, shared);
}

// x [rows, classes] -> loss [rows] (=). One warp or block a row, 128 to 1024 threads, 128 B shared.
template <class T, class Form>
__global__ void __launch_bounds__(Form::kThreads) cross_entropy_kernel(const T *x, float *loss, Problem p) {
  __shared__ float shared[32];
  const int64_t r = Form::row();
  if (r >= p.rows) return;  // whole warps of the warp form alone: nobody waits for them
  Row<T, Form> row(x + r * p.classes, p.classes, p.aligned);
  float top;
  const float total = exp_sum(row, shared, &top);
  if (Form::lane() != 0) return;
  const int32_t t = p.target[r];
  float value = NAN;
  if (t == p.ignore) value = 0.0f;
  else if (p.known(r, t)) value = logf(total) + (top - to_float(x[r * p.classes + t]));
  loss[r] = value;
}

// x [rows, classes], dy [rows] -> dx (=). One warp or block a row, 128 to 1024 threads, 128 B shared.
template <class T, class Form>
__global__ void __launch_bounds__(Form::kThreads)
cross_entropy_bwd_kernel(const T *x, const float *dy, T *dx, Problem p) {
  __shared__ float shared[32];
  const int64_t r = Form::row();
  if (r >= p.rows) return;
  Row<T, Form> row(x + r * p.classes, p.classes, p.aligned);
  float top;
  const float total = exp_sum(row, shared, &top);
  const int32_t t = p.target[r];
  const bool ignored = t == p.ignore, known = p.known(r, t);
  const float up = known ? dy[r] : NAN, scale = up / total;
  T *out = dx + r * p.classes;
  row.visit([&](float(&v)[Form::kPack], int column) {
    float result[Form::kPack];
#pragma unroll
    for (int i = 0; i < Form::kPack; ++i) {
      const float e = Row<T, Form>::kKept ? v[i] : expf(v[i] - top);
      result[i] = ignored ? 0.0f : e * scale - (column + i == t ? up : 0.0f);
    }
    store_values(out + column, p.aligned, result);
  });
}

Problem make_problem(LaunchCall &call, const TensorView &rows_like) {
  const TensorView &x = call.in(0), &target = call.in(1);
  if (x.ndim != 2 || target.dtype != DType::i32 || target.numel() != x.shape[0])
    call.reject("logits must be [R, C] and targets i32 [R]");
  if (rows_like.numel() != x.shape[0] || rows_like.dtype != DType::f32) call.reject("the loss must be f32 [R]");
  if (x.shape[1] > (int64_t{1} << 30)) call.reject("rows of %lld classes are too long", static_cast<long long>(x.shape[1]));
  const int64_t classes = x.shape[1], ignore = call.attr_int(0);
  const Refusal refusal = call.refuses_values([classes, ignore](const RefusedValue &seen) {
    return refused_target(seen.value[0], seen.position, classes, ignore);
  });
  return {target.as<const int32_t>(), x.shape[0], ignore, static_cast<int>(classes), aligned16(x.data), refusal};
}

void cross_entropy(LaunchCall &call) {
  const TensorView &x = call.in(0);
  const Problem p = make_problem(call, call.out(0));
  dispatch_float(call, x.dtype, [&](auto zero) {
    using T = decltype(zero);
    dispatch_rows<row_pack<T>()>(call, p.classes, [&](auto form) {
      using Form = decltype(form);
      WM_LAUNCH((cross_entropy_kernel<T, Form>), row_grid<Form>(p.rows), dim3(Form::kThreads), 0, call.stream(),
                x.as<const T>(), call.out(0).as<float>(), p);
    });
  });
}

// inputs logits, targets, dy [R]; output: gradient of the logits
void cross_entropy_bwd(LaunchCall &call) {
  const TensorView &x = call.in(0), &out = call.out(0);
  Problem p = make_problem(call, call.in(2));
  if (out.dtype != x.dtype || out.numel() != x.numel()) call.reject("output must match the logits");
  p.aligned = p.aligned && aligned16(out.data);
  dispatch_float(call, x.dtype, [&](auto zero) {
    using T = decltype(zero);
    dispatch_rows<row_pack<T>()>(call, p.classes, [&](auto form) {
      using Form = decltype(form);
      WM_LAUNCH((cross_entropy_bwd_kernel<T, Form>), row_grid<Form>(p.rows), dim3(Form::kThreads), 0, call.stream(),
                x.as<const T>(), call.in(2).as<const float>(), out.as<T>(), p);
    });
  });
}

}  // namespace

WM_REGISTER_CUDA_OP(cross_entropy, cross_entropy, kContiguous)
WM_REGISTER_CUDA_OP(cross_entropy_bwd, cross_entropy_bwd, kContiguous)

}  // namespace wm::cuda
