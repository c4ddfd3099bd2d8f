// normalise_image: u8 pixels to a network input, y[c, i, j] = (x[i, j, c] - mean[c]) / std[c] in f32.
#include "native/cpu/image/normalise_table.h"

namespace wm {

namespace {

// image u8 [H, W, 3] -> f32 [3, H, W]
void normalise_image(OpCall &call) {
  const TensorView &image = call.in(0);
  const TensorView &out = call.out(0);
  if (image.dtype != DType::u8 || image.ndim != 3 || image.dim(2) != 3)
    call.reject("the image must be u8 [H, W, 3]");
  if (out.dtype != DType::f32 || out.numel() != image.numel())
    call.reject("the output must be f32 [3, H, W]");
  const NormaliseTable table = make_normalise_table(call, call.in(1), call.in(2), call.attr_flag(0));
  const int64_t height = image.dim(0), width = image.dim(1);
  call.parallel(height, 32, [&](int64_t begin, int64_t end) {
    for (int64_t y = begin; y < end; ++y) {
      const uint8_t *from = image.as<uint8_t>() + y * width * 3;
      float *r = out.as<float>() + y * width;
      float *g = r + height * width;
      float *b = g + height * width;
      for (int64_t x = 0; x < width; ++x) {
        r[x] = table.value[0][from[3 * x]];
        g[x] = table.value[1][from[3 * x + 1]];
        b[x] = table.value[2][from[3 * x + 2]];
      }
    }
  });
}

}  // namespace

WM_REGISTER_CPU_OP(normalise_image, normalise_image, kContiguous)

}  // namespace wm
