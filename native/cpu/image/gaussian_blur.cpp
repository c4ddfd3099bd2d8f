// Gaussian blur of the last two axes, separable, radius int(truncate * sigma + 0.5), weights normalised to sum 1.
// Border: 0 reflects with the edge sample repeated (d c b a | a b c d | d c b a), 1 mirrors without repeating it
// (d c b | a b c d | c b a), both as often as needed. A row is blurred down its columns into a padded line and along it
// from there, so no second image is kept.
#include <algorithm>
#include <cmath>
#include <vector>

#include "native/core/cpu_info.h"
#include "native/core/image_checks.h"
#include "native/core/op.h"
#include "native/cpu/image/gaussian_blur_rows.h"

namespace wm {

namespace {

constexpr int64_t kRowGrain = 4;

int64_t border_index(int64_t i, int64_t n, bool mirror) {
  if (n == 1) return 0;
  const int64_t period = mirror ? 2 * (n - 1) : 2 * n;
  i %= period;
  if (i < 0) i += period;
  if (i < n) return i;
  return mirror ? period - i : period - 1 - i;
}

template <class T>
void blur_row(const T *const *rows, const T *weights, int64_t radius, int64_t count, T *out) {
  for (int64_t i = 0; i < count; ++i) out[i] = weights[0] * rows[0][i];
  for (int64_t k = 1; k <= radius; ++k) {
    const T *a = rows[2 * k - 1], *b = rows[2 * k];
    const T weight = weights[k];
    for (int64_t i = 0; i < count; ++i) out[i] += weight * (a[i] + b[i]);
  }
}

void sum_rows(const double *const *rows, const double *weights, int64_t radius, int64_t count, double *out) {
  blur_row<double>(rows, weights, radius, count, out);
}

void sum_rows(const float *const *rows, const float *weights, int64_t radius, int64_t count, float *out) {
  static const BlurRow chosen = [] {
#if defined(__x86_64__)
    if (cpu_isa() >= Isa::avx512) return &blur_row_avx512;
    if (cpu_isa() >= Isa::avx2) return &blur_row_avx2;
#endif
    return static_cast<BlurRow>(&blur_row<float>);
  }();
  chosen(rows, weights, radius, count, out);
}

template <class T>
std::vector<T> make_weights(double sigma, int64_t radius) {
  std::vector<double> exact(static_cast<size_t>(radius) + 1);
  double sum = 0.0;
  for (int64_t k = 0; k <= radius; ++k) {
    const double z = static_cast<double>(k) / sigma;
    exact[static_cast<size_t>(k)] = std::exp(-0.5 * z * z);
    sum += (k == 0 ? 1.0 : 2.0) * exact[static_cast<size_t>(k)];
  }
  std::vector<T> weights;
  for (const double w : exact) weights.push_back(static_cast<T>(w / sum));
  return weights;
}

template <class T>
void blur(OpCall &call, double sigma, int64_t radius, bool mirror) {
  const TensorView &x = call.in(0);
  const int64_t height = x.dim(-2), width = x.dim(-1), planes = x.numel() / (height * width);
  const std::vector<T> weights = make_weights<T>(sigma, radius);
  const T *in = x.as<T>();
  T *out = call.out(0).as<T>();
  call.parallel(planes * height, kRowGrain, [&](int64_t begin, int64_t end) {
    std::vector<T> line(static_cast<size_t>(width + 2 * radius));
    std::vector<const T *> rows(static_cast<size_t>(2 * radius) + 1);
    T *centre = line.data() + radius;
    for (int64_t i = begin; i < end; ++i) {
      const T *plane = in + i / height * height * width;
      const int64_t y = i % height;
      rows[0] = plane + y * width;
      for (int64_t k = 1; k <= radius; ++k) {
        rows[static_cast<size_t>(2 * k - 1)] = plane + border_index(y - k, height, mirror) * width;
        rows[static_cast<size_t>(2 * k)] = plane + border_index(y + k, height, mirror) * width;
      }
      sum_rows(rows.data(), weights.data(), radius, width, centre);
      for (int64_t k = 1; k <= radius; ++k) {
        centre[-k] = centre[border_index(-k, width, mirror)];
        centre[width - 1 + k] = centre[border_index(width - 1 + k, width, mirror)];
      }
      rows[0] = centre;
      for (int64_t k = 1; k <= radius; ++k) {
        rows[static_cast<size_t>(2 * k - 1)] = centre - k;
        rows[static_cast<size_t>(2 * k)] = centre + k;
      }
      sum_rows(rows.data(), weights.data(), radius, width, out + i * width);
    }
  });
}

void gaussian_blur(OpCall &call) {
  const TensorView &x = call.in(0);
  if (x.ndim < 2) call.reject("needs [..., H, W]");
  if (x.numel() == 0) return;
  const BlurSpec spec = read_blur(call);
  if (x.dtype == DType::f32) return blur<float>(call, spec.sigma, spec.radius, spec.mirror);
  if (x.dtype == DType::f64) return blur<double>(call, spec.sigma, spec.radius, spec.mirror);
  call.reject("needs f32 or f64, got %s", dtype_name(x.dtype));
}

}  // namespace

WM_REGISTER_CPU_OP(gaussian_blur, gaussian_blur, kContiguous)

}  // namespace wm
