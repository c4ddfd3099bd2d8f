// Source pixels of a convolution, looked up while a product runs: pictures are never unfolded or given a border.
#pragma once

#include "cuda/math/conv2d.h"

namespace wm::cuda {

// One pixel of the result.
struct ConvPixel {
  int64_t image;  // first source pixel of its image; -1: past the last pixel
  int y, x;       // source position under a tap at (0, 0), times div

  __device__ __forceinline__ ConvPixel(const ConvGather &g, int64_t pixel, int64_t pixels) {
    const auto of_image = static_cast<uint32_t>(g.out_h * g.out_w);
    const uint32_t b = static_cast<uint32_t>(pixel) / of_image;
    const auto rest = static_cast<int>(static_cast<uint32_t>(pixel) - b * of_image);
    image = pixel < pixels ? static_cast<int64_t>(b) * g.height * g.width : -1;
    y = rest / g.out_w * g.mul + g.off;
    x = rest % g.out_w * g.mul + g.off;
  }

  // First channel of the source pixel under a tap; -1 where there is none.
  __device__ __forceinline__ int64_t at(const ConvGather &g, int tap) const {
    const int i = tap / g.kernel_w, j = tap - i * g.kernel_w;
    int sy = y + g.sign * i, sx = x + g.sign * j;
    if (image < 0 || sy < 0 || sx < 0) return -1;
    if (g.div > 1) {
      if (sy % g.div != 0 || sx % g.div != 0) return -1;
      sy /= g.div;
      sx /= g.div;
    }
    if (sy >= g.height || sx >= g.width) return -1;
    return (image + static_cast<int64_t>(sy) * g.width + sx) * g.channels;
  }
};

}  // namespace wm::cuda
