// cosine_logits(x [N, P, D], w [S, D]; normalise, scale) -> [N, S, P] = scale <x_p / |x_p|, w_s> (kernels.md
// G3), and its gradients. The division by |x_p| happens on the finished sums, as a factor of each output
// column: x is read once for the lengths, once while being packed, and never stored in normalised form. Sums
// are f32 (f64 for f64), bf16 patches are widened while being packed.
#include <algorithm>
#include <cmath>

#include "native/cpu/math/gemm.h"

namespace wm {

namespace {

// Shorter vectors are divided by this instead, so that a zero patch gives zero logits.
constexpr double kMinLength = 1e-12;

void product(OpCall &call, const GemmArgs &args, const float *column_scale) {
  GemmArgs scaled = args;
  scaled.column_scale = column_scale;
  gemm(call, scaled);
}

void product(OpCall &call, const GemmArgs &args, const double *column_scale) {
  GemmF64Extras extras;
  extras.column_scale = column_scale;
  gemm_f64(call, args, extras);
}

// Sixteen running sums (element i goes to sum i % 16), then added in order: a fixed order the compiler can
// vectorise.
template <class T, class X, class Y>
T dot(const X *x, const Y *y, int64_t n) {
  constexpr int kLanes = 16;
  T sums[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) {
      sums[lane] += static_cast<T>(to_float(x[i + lane])) * static_cast<T>(to_float(y[i + lane]));
    }
  }
  for (int lane = 0; i < n; ++i, ++lane)
    sums[lane] += static_cast<T>(to_float(x[i])) * static_cast<T>(to_float(y[i]));
  T total = 0;
  for (const T sum : sums) total += sum;
  return total;
}

// 1 / |x_p| for all patches, or null without normalisation.
template <class T, class X>
T *inverse_lengths(OpCall &call, const X *x, int64_t patches, int64_t d, bool normalise) {
  if (!normalise) return nullptr;
  T *inverse = call.workspace<T>(std::max<int64_t>(1, patches));
  call.parallel(patches, 64, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      const T length = std::sqrt(dot<T>(x + p * d, x + p * d, d));
      inverse[p] = T{1} / std::max(length, static_cast<T>(kMinLength));
    }
  });
  return inverse;
}

std::vector<int64_t> batch_offsets(int64_t batch, int64_t step) {
  std::vector<int64_t> offsets(static_cast<size_t>(batch));
  for (int64_t i = 0; i < batch; ++i) offsets[static_cast<size_t>(i)] = i * step;
  return offsets;
}

struct Sizes {
  int64_t batch, patches, d, s;
};

// The one accepted combination of dtypes besides all-equal is bf16 x with f32 everywhere else.
Sizes read_sizes(OpCall &call, const TensorView &x, const TensorView &w) {
  if (x.ndim != 3 || w.ndim != 2 || x.dim(2) != w.dim(1)) call.reject("x must be [N, P, D] and w [S, D]");
  const bool wide = x.dtype == DType::f64 && w.dtype == DType::f64;
  const bool narrow = (x.dtype == DType::f32 || x.dtype == DType::bf16) && w.dtype == DType::f32;
  if (!wide && !narrow) call.reject("takes x f32 or bf16 with w f32, or both f64");
  return {x.dim(0), x.dim(1), x.dim(2), w.dim(0)};
}

template <class T, class X>
void forward(OpCall &call, const Sizes &size) {
  const TensorView &x = call.in(0), &w = call.in(1);
  const T *inverse =
      inverse_lengths<T>(call, x.as<X>(), size.batch * size.patches, size.d, call.attr_flag(0));
  const std::vector<int64_t> offsets = batch_offsets(size.batch, size.patches * size.d);
  GemmArgs args;
  args.m = size.s;
  args.n = size.patches;
  args.k = size.d;
  args.batch = size.batch;
  args.a = {w.data, w.dtype, size.d, 1, nullptr, false};
  args.b = {x.data, x.dtype, size.d, 1, offsets.data(), false};
  args.scale = call.attr(1);
  args.out = call.out(0).data;
  args.out_dtype = w.dtype;
  product(call, args, inverse);
}

// g'[s, n, p] = scale g[n, s, p] / |x_p|: what both gradients multiply.
template <class T>
T *scaled_gradient(OpCall &call, const Sizes &size, const T *g, const T *inverse, T scale) {
  T *scaled = call.workspace<T>(std::max<int64_t>(1, size.s * size.batch * size.patches));
  call.parallel(size.s * size.batch, 16, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t s = row / size.batch, n = row % size.batch;
      const T *from = g + (n * size.s + s) * size.patches;
      const T *factor = inverse == nullptr ? nullptr : inverse + n * size.patches;
      T *to = scaled + row * size.patches;
      for (int64_t p = 0; p < size.patches; ++p)
        to[p] = from[p] * (factor == nullptr ? scale : scale * factor[p]);
    }
  });
  return scaled;
}

// dw [S, D] = g' [S, N P] x [N P, D]
template <class T>
void weight_gradient(OpCall &call, const Sizes &size, const T *scaled) {
  const TensorView &x = call.in(0), &w = call.in(1);
  GemmArgs args;
  args.m = size.s;
  args.n = size.d;
  args.k = size.batch * size.patches;
  args.a = {scaled, w.dtype, args.k, 1, nullptr, false};
  args.b = {x.data, x.dtype, 1, size.d, nullptr, false};
  args.out = call.out(0).data;
  args.out_dtype = w.dtype;
  product(call, args, static_cast<const T *>(nullptr));
}

// v [N, P, D] = g'^T w; dx = v - x <x, v> / |x|^2, the part of v across x.
template <class T, class X>
void patch_gradient(OpCall &call, const Sizes &size, const T *scaled, const T *inverse) {
  const TensorView &x = call.in(0), &w = call.in(1);
  const int64_t rows = size.batch * size.patches, d = size.d;
  const std::vector<int64_t> offsets = batch_offsets(size.batch, size.patches);
  T *v = call.workspace<T>(std::max<int64_t>(1, rows * d));
  GemmArgs args;
  args.m = size.patches;
  args.n = d;
  args.k = size.s;
  args.batch = size.batch;
  args.a = {scaled, w.dtype, 1, rows, offsets.data(), false};
  args.b = {w.data, w.dtype, 1, d, nullptr, false};
  args.out = v;
  args.out_dtype = w.dtype;
  product(call, args, static_cast<const T *>(nullptr));
  X *dx = call.out(0).as<X>();
  call.parallel(rows, 64, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      const X *from = x.as<X>() + p * d;
      // Where the length was clamped it is a constant, and nothing is projected out.
      const bool project = inverse != nullptr && inverse[p] < static_cast<T>(1.0 / kMinLength);
      const T along = project ? dot<T>(from, v + p * d, d) * inverse[p] * inverse[p] : T{0};
      for (int64_t i = 0; i < d; ++i) {
        const T value = v[p * d + i] - along * static_cast<T>(to_float(from[i]));
        if constexpr (sizeof(X) == 8) {
          dx[p * d + i] = value;
        } else {
          dx[p * d + i] = from_float<X>(static_cast<float>(value));
        }
      }
    }
  });
}

template <class T, class X>
void backward(OpCall &call, const Sizes &size) {
  const TensorView &x = call.in(0);
  const T *inverse =
      inverse_lengths<T>(call, x.as<X>(), size.batch * size.patches, size.d, call.attr_flag(0));
  const T *scaled = scaled_gradient<T>(call, size, call.in(2).as<T>(), inverse, static_cast<T>(call.attr(1)));
  if (call.attr_flag(2)) {
    weight_gradient<T>(call, size, scaled);
  } else {
    patch_gradient<T, X>(call, size, scaled, inverse);
  }
}

}  // namespace

static void cosine_logits(OpCall &call) {
  const TensorView &x = call.in(0), &w = call.in(1), &out = call.out(0);
  const Sizes size = read_sizes(call, x, w);
  if (out.numel() != size.batch * size.s * size.patches || out.dtype != w.dtype)
    call.reject("the output must be [N, S, P]");
  if (x.dtype == DType::f64) return forward<double, double>(call, size);
  if (x.dtype == DType::bf16) return forward<float, bf16>(call, size);
  forward<float, float>(call, size);
}
WM_REGISTER_CPU_OP(cosine_logits, cosine_logits, kContiguous)

// cosine_logits_bwd(x, w, g [N, S, P]; normalise, scale, ofWeight) -> dx, or dw with ofWeight.
static void cosine_logits_bwd(OpCall &call) {
  const TensorView &x = call.in(0), &w = call.in(1), &g = call.in(2), &out = call.out(0);
  const Sizes size = read_sizes(call, x, w);
  const TensorView &like = call.attr_flag(2) ? w : x;
  if (g.numel() != size.batch * size.s * size.patches || g.dtype != w.dtype)
    call.reject("g must be [N, S, P] in w's dtype");
  if (out.numel() != like.numel() || out.dtype != like.dtype)
    call.reject("the output must be like the input it is of");
  if (x.dtype == DType::f64) return backward<double, double>(call, size);
  if (x.dtype == DType::bf16) return backward<float, bf16>(call, size);
  backward<float, float>(call, size);
}
WM_REGISTER_CPU_OP(cosine_logits_bwd, cosine_logits_bwd, kContiguous)

}  // namespace wm
