// Packs comparisons into the bit mask of attention: bit j % 8 of byte j / 8 of a row is set where x[j] < threshold.
// Input float [..., N] of any strides, output u8 [..., ceil(N / 8)] (=); bits behind N are 0, as are those of a NaN.
#include "native/core/op.h"

namespace wm {

namespace {

void mask_bits(OpCall &call) {
  const TensorView &x = call.in(0);
  const TensorView &out = call.out(0);
  if (x.ndim < 1) call.reject("x must have an axis");
  const int64_t n = x.dim(-1), bytes = (n + 7) / 8;
  const int64_t rows = n == 0 ? 0 : x.numel() / n;
  if (out.dtype != DType::u8 || out.numel() != rows * bytes) call.reject("the output must be u8 [..., ceil(N / 8)]");
  const float threshold = static_cast<float>(call.attr(0));
  const int64_t step = x.stride[x.ndim - 1];
  dispatch_float(call, x.dtype, [&](auto zero) {
    using T = decltype(zero);
    call.parallel(rows, 16, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const T *src = x.as<T>();
        int64_t rest = row;
        for (int axis = x.ndim - 2; axis >= 0; --axis) {
          src += rest % x.shape[axis] * x.stride[axis];
          rest /= x.shape[axis];
        }
        for (int64_t byte = 0; byte < bytes; ++byte) {
          const int64_t count = n - byte * 8 < 8 ? n - byte * 8 : 8;
          unsigned bits = 0;
          for (int64_t bit = 0; bit < count; ++bit) {
            bits |= static_cast<unsigned>(to_float(src[(byte * 8 + bit) * step]) < threshold) << bit;
          }
          out.as<uint8_t>()[row * bytes + byte] = static_cast<uint8_t>(bits);
        }
      }
    });
  });
}

}  // namespace

WM_REGISTER_CPU_OP(mask_bits, mask_bits, kStrided)

}  // namespace wm
