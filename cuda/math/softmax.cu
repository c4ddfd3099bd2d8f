// softmax and log_softmax of x / temperature over one axis, in f32. Attributes: axis, temperature.
//   y = exp((x - max) / t) / sum        log form: y = (x - max) / t - log(sum)
// Backward, from the result y:  dx = y (dy - sum(y dy)) / t      log form: dx = (dy - exp(y) sum(dy)) / t
// The last axis: one warp or block a row. Another axis (classes of a CHW map): 32 neighbouring columns a block, so that each
// step along the axis reads whole lines (kernels.md N3). Floor: each tensor once through memory, which is the
// expected limiter up to 16384 values a row (176 along another axis); beyond, x is read again.
#include "cuda/math/rows.cuh"

#include <cmath>

namespace wm::cuda {

namespace {

constexpr float kLog2e = 1.44269504f;

// x [rows, width] -> y (=). One warp or block a row, 128 to 1024 threads, 128 B shared.
template <class T, class Form>
__global__ void __launch_bounds__(Form::kThreads)
softmax_rows_kernel(const T *x, T *y, int64_t rows, int width, float scale, bool is_log, bool aligned) {
  __shared__ float shared[32];
  const int64_t r = Form::row();
  if (r >= rows) return;  // whole warps of the warp form alone: nobody waits for them
  Row<T, Form> row(x + r * width, width, aligned);
  float top = -INFINITY;
  row.visit([&](float(&v)[Form::kPack], int) {
#pragma unroll
    for (float value : v) top = fmaxf(top, value);
  });
  top = Form::max(top, shared);
  // exp2 with a pre-multiplied scale saves a multiplication an element.
  const float scale2 = scale * kLog2e;
  const bool keep = Row<T, Form>::kKept && !is_log;
  float total = 0.0f;
  row.visit([&](float(&v)[Form::kPack], int) {
#pragma unroll
    for (float &value : v) {
      const float e = exp2f((value - top) * scale2);
      total += e;
      if (keep) value = e;
    }
  });
  total = Form::sum(total, shared);
  const float log_total = logf(total), inverse = 1.0f / total;
  T *out = y + r * width;
  row.visit([&](float(&v)[Form::kPack], int column) {
    float result[Form::kPack];
#pragma unroll
    for (int i = 0; i < Form::kPack; ++i) {
      if (is_log) result[i] = (v[i] - top) * scale - log_total;
      else result[i] = (keep ? v[i] : exp2f((v[i] - top) * scale2)) * inverse;
    }
    store_values(out + column, aligned, result);
  });
}

// y, dy [rows, width] -> dx (=). One warp or block a row, 128 to 1024 threads, 128 B shared.
template <class T, class Form>
__global__ void __launch_bounds__(Form::kThreads)
softmax_rows_bwd_kernel(const T *y, const T *dy, T *dx, int64_t rows, int width, float scale, bool is_log,
                        bool aligned) {
  __shared__ float shared[32];
  const int64_t r = Form::row();
  if (r >= rows) return;
  Row<T, Form> row(y + r * width, width, aligned), upstream(dy + r * width, width, aligned);
  float total = 0.0f;
  row.visit_with(upstream, [&](float(&v)[Form::kPack], float(&g)[Form::kPack], int) {
#pragma unroll
    for (int i = 0; i < Form::kPack; ++i) total += is_log ? g[i] : v[i] * g[i];
  });
  total = Form::sum(total, shared);
  T *out = dx + r * width;
  row.visit_with(upstream, [&](float(&v)[Form::kPack], float(&g)[Form::kPack], int column) {
    float result[Form::kPack];
#pragma unroll
    for (int i = 0; i < Form::kPack; ++i)
      result[i] = scale * (is_log ? g[i] - expf(v[i]) * total : v[i] * (g[i] - total));
    store_values(out + column, aligned, result);
  });
}

// A tensor seen from one axis: [outer, length, inner]; a column is one (outer, inner).
struct AxisPlan {
  int64_t outer = 1, length = 1, inner = 1;
};

// A block works on `columns` neighbouring columns; `slices` threads share one, thread s takes its elements s, s + slices, ...
// and keeps up to `held` of them in registers, or (0) reads them again at each visit.
template <int columns, int slices, int held>
struct ColumnForm {
  static constexpr int kColumns = columns, kSlices = slices, kHeld = held, kThreads = columns * slices;
};

// The part of a column that one thread works on.
template <class T, class Form>
class ColumnPart {
 public:
  static constexpr bool kKept = Form::kHeld > 0;

  __device__ ColumnPart(const T *column, int64_t length, int64_t pitch)
      : column_(column), length_(column == nullptr ? 0 : length), pitch_(pitch) {
#pragma unroll
    for (int i = 0; i < Form::kHeld; ++i) {
      if (element(i) < length_) values_[i] = to_float(column_[element(i) * pitch_]);
    }
  }

  // body(value, offset in the column)
  template <class Body>
  __device__ void visit(const Body &body) {
    if constexpr (kKept) {
#pragma unroll
      for (int i = 0; i < Form::kHeld; ++i) {
        if (element(i) < length_) body(values_[i], element(i) * pitch_);
      }
    } else {
      for (int64_t c = threadIdx.y; c < length_; c += Form::kSlices) {
        float value = to_float(column_[c * pitch_]);
        body(value, c * pitch_);
      }
    }
  }

 private:
  static __device__ int64_t element(int i) { return static_cast<int64_t>(i) * Form::kSlices + threadIdx.y; }

  const T *column_;
  int64_t length_, pitch_;
  float values_[kKept ? Form::kHeld : 1];
};

// The parts of a column joined in order; all threads of the column get the result.
template <class Form, bool kMax>
__device__ float join_column(float value, float (*shared)[Form::kColumns]) {
  shared[threadIdx.y][threadIdx.x] = value;
  __syncthreads();
  float joined = shared[0][threadIdx.x];
#pragma unroll
  for (int s = 1; s < Form::kSlices; ++s) {
    const float next = shared[s][threadIdx.x];
    joined = kMax ? fmaxf(joined, next) : joined + next;
  }
  __syncthreads();
  return joined;
}

template <class Form>
__device__ int64_t column_base(const AxisPlan &plan, bool *inside) {
  const unsigned column = blockIdx.x * Form::kColumns + threadIdx.x, inner = static_cast<unsigned>(plan.inner);
  *inside = column < plan.outer * plan.inner;
  return column / inner * (plan.length * plan.inner) + column % inner;
}

// x [outer, length, inner] -> y (=). 256 or 512 threads, at most 2 KiB shared.
template <class T, class Form>
__global__ void __launch_bounds__(Form::kThreads)
softmax_columns_kernel(const T *x, T *y, AxisPlan plan, float scale, bool is_log) {
  __shared__ float shared[Form::kSlices][Form::kColumns];
  bool inside;
  const int64_t base = column_base<Form>(plan, &inside);
  ColumnPart<T, Form> part(inside ? x + base : nullptr, plan.length, plan.inner);
  float top = -INFINITY;
  part.visit([&](float &value, int64_t) { top = fmaxf(top, value); });
  top = join_column<Form, true>(top, shared);
  const float scale2 = scale * kLog2e;
  const bool keep = ColumnPart<T, Form>::kKept && !is_log;
  float total = 0.0f;
  part.visit([&](float &value, int64_t) {
    const float e = exp2f((value - top) * scale2);
    total += e;
    if (keep) value = e;
  });
  total = join_column<Form, false>(total, shared);
  const float log_total = logf(total), inverse = 1.0f / total;
  part.visit([&](float &value, int64_t offset) {
    const float result = is_log ? (value - top) * scale - log_total
                                : (keep ? value : exp2f((value - top) * scale2)) * inverse;
    y[base + offset] = from_float<T>(result);
  });
}

// y, dy [outer, length, inner] -> dx (=). 256 or 512 threads, at most 2 KiB shared; dy is read twice (the second time from
// the caches where a block's columns fit).
template <class T, class Form>
__global__ void __launch_bounds__(Form::kThreads)
softmax_columns_bwd_kernel(const T *y, const T *dy, T *dx, AxisPlan plan, float scale, bool is_log) {
  __shared__ float shared[Form::kSlices][Form::kColumns];
  bool inside;
  const int64_t base = column_base<Form>(plan, &inside);
  ColumnPart<T, Form> part(inside ? y + base : nullptr, plan.length, plan.inner);
  float total = 0.0f;
  part.visit([&](float value, int64_t offset) {
    const float g = to_float(dy[base + offset]);
    total += is_log ? g : value * g;
  });
  total = join_column<Form, false>(total, shared);
  part.visit([&](float value, int64_t offset) {
    const float g = to_float(dy[base + offset]);
    dx[base + offset] = from_float<T>(scale * (is_log ? g - expf(value) * total : value * (g - total)));
  });
}

// Calls launch(ColumnForm, grid); the form follows from the length of a column alone.
template <class Launch>
void dispatch_columns(const LaunchCall &call, const AxisPlan &plan, const Launch &launch) {
  const int64_t columns = plan.outer * plan.inner;
  if (columns >= (int64_t{1} << 31)) call.reject("%lld columns are too many", static_cast<long long>(columns));
  if (plan.length <= 32) return launch(ColumnForm<128, 2, 16>{}, blocks_for(columns, 128));
  if (plan.length <= 176) return launch(ColumnForm<32, 16, 11>{}, blocks_for(columns, 32));
  launch(ColumnForm<32, 16, 0>{}, blocks_for(columns, 32));
}

template <class T>
void forward(LaunchCall &call, const AxisPlan &plan, float scale, bool is_log) {
  const T *x = call.in(0).as<const T>();
  T *y = call.out(0).as<T>();
  if (plan.inner == 1) {
    return dispatch_rows<row_pack<T>()>(call, plan.length, [&](auto form) {
      using Form = decltype(form);
      WM_LAUNCH((softmax_rows_kernel<T, Form>), row_grid<Form>(plan.outer), dim3(Form::kThreads), 0,
                call.stream(), x, y, plan.outer, static_cast<int>(plan.length), scale, is_log,
                aligned16(x) && aligned16(y));
    });
  }
  dispatch_columns(call, plan, [&](auto form, unsigned blocks) {
    using Form = decltype(form);
    WM_LAUNCH((softmax_columns_kernel<T, Form>), dim3(blocks), dim3(Form::kColumns, Form::kSlices), 0, call.stream(), x,
              y, plan, scale, is_log);
  });
}

template <class T>
void backward(LaunchCall &call, const AxisPlan &plan, float scale, bool is_log) {
  const T *y = call.in(0).as<const T>(), *dy = call.in(1).as<const T>();
  T *dx = call.out(0).as<T>();
  if (plan.inner == 1) {
    return dispatch_rows<row_pack<T>()>(call, plan.length, [&](auto form) {
      using Form = decltype(form);
      WM_LAUNCH((softmax_rows_bwd_kernel<T, Form>), row_grid<Form>(plan.outer), dim3(Form::kThreads), 0,
                call.stream(), y, dy, dx, plan.outer, static_cast<int>(plan.length), scale, is_log,
                aligned16(y) && aligned16(dy) && aligned16(dx));
    });
  }
  dispatch_columns(call, plan, [&](auto form, unsigned blocks) {
    using Form = decltype(form);
    WM_LAUNCH((softmax_columns_bwd_kernel<T, Form>), dim3(blocks), dim3(Form::kColumns, Form::kSlices), 0,
              call.stream(), y, dy, dx, plan, scale, is_log);
  });
}

template <bool is_log, bool is_backward>
void softmax_op(LaunchCall &call) {
  const TensorView &x = call.in(0), &out = call.out(0);
  const int64_t axis = call.attr_int(0);
  if (axis < 0 || axis >= x.ndim) call.reject("axis %lld for rank %d", static_cast<long long>(axis), x.ndim);
  if (out.dtype != x.dtype || out.numel() != x.numel()) call.reject("output must match the input");
  if (is_backward && (call.in(1).dtype != x.dtype || call.in(1).numel() != x.numel())) call.reject("dy must match y");
  AxisPlan plan;
  plan.length = x.shape[axis];
  for (int d = 0; d < axis; ++d) plan.outer *= x.shape[d];
  for (int d = static_cast<int>(axis) + 1; d < x.ndim; ++d) plan.inner *= x.shape[d];
  if (x.numel() == 0) return;
  const auto scale = static_cast<float>(1.0 / call.attr(1));
  dispatch_float(call, x.dtype, [&](auto zero) {
    using T = decltype(zero);
    if constexpr (is_backward) backward<T>(call, plan, scale, is_log);
    else forward<T>(call, plan, scale, is_log);
  });
}

}  // namespace

WM_REGISTER_CUDA_OP(softmax, (softmax_op<false, false>), kContiguous)
WM_REGISTER_CUDA_OP(log_softmax, (softmax_op<true, false>), kContiguous)
WM_REGISTER_CUDA_OP(softmax_bwd, (softmax_op<false, true>), kContiguous)
WM_REGISTER_CUDA_OP(log_softmax_bwd, (softmax_op<true, true>), kContiguous)

}  // namespace wm::cuda
