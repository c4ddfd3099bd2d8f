// patchify: pixels [B, C, H, W] -> rows [B, h*w, C*p*p] in the order of a convolution weight [C, p, p]; rows and
// columns that fill no patch are dropped (kernels.md P2). patchify_bwd puts rows back, zeros in the remainder.
// Attributes: patch; backward: patch, C, H, W. Any dtype.
#include "native/cpu/shape/move.h"

namespace wm {

namespace {

struct Grid {
  int64_t images, channels, height, width, patch, rows, columns, size;
};

Grid make_grid(const OpCall &call, const TensorView &pixels, const TensorView &patches) {
  Grid g;
  g.patch = call.attr_int(0);
  if (pixels.ndim != 4 || g.patch < 1) call.reject("pixels must be [B, C, H, W] and patch at least 1");
  g.images = pixels.shape[0];
  g.channels = pixels.shape[1];
  g.height = pixels.shape[2];
  g.width = pixels.shape[3];
  g.rows = g.height / g.patch;
  g.columns = g.width / g.patch;
  g.size = static_cast<int64_t>(dtype_size(pixels.dtype));
  if (patches.dtype != pixels.dtype ||
      patches.numel() != g.images * g.rows * g.columns * g.channels * g.patch * g.patch) {
    call.reject("patch rows do not fit the pixels");
  }
  return g;
}

// body(byte offset in the pixels, byte offset in the patches, bytes): every run of `patch` pixels once.
template <class Body>
void for_each_run(const OpCall &call, const Grid &g, const Body &body) {
  const int64_t run = g.patch * g.size;
  call.parallel(g.images * g.rows, 1, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t image = item / g.rows, row = item % g.rows;
      for (int64_t c = 0; c < g.channels; ++c) {
        for (int64_t y = 0; y < g.patch; ++y) {
          const int64_t line = ((image * g.channels + c) * g.height + row * g.patch + y) * g.width * g.size;
          const int64_t first = (item * g.columns * g.channels + c) * g.patch * run + y * run;
          for (int64_t column = 0; column < g.columns; ++column) {
            body(line + column * run, first + column * g.channels * g.patch * run, static_cast<size_t>(run));
          }
        }
      }
    }
  });
}

void patchify(OpCall &call) {
  const Grid g = make_grid(call, call.in(0), call.out(0));
  const auto *from = call.in(0).as<uint8_t>();
  auto *to = call.out(0).as<uint8_t>();
  for_each_run(call, g, [&](int64_t pixel, int64_t patch, size_t bytes) { std::memcpy(to + patch, from + pixel, bytes); });
}

void patchify_bwd(OpCall &call) {
  const TensorView &out = call.out(0);
  const Grid g = make_grid(call, out, call.in(0));
  if (g.rows * g.patch != g.height || g.columns * g.patch != g.width) {
    zero_bytes(call, out.data, static_cast<int64_t>(out.bytes()));
  }
  const auto *from = call.in(0).as<uint8_t>();
  auto *to = out.as<uint8_t>();
  for_each_run(call, g, [&](int64_t pixel, int64_t patch, size_t bytes) { std::memcpy(to + pixel, from + patch, bytes); });
}

}  // namespace

WM_REGISTER_CPU_OP(patchify, patchify, kContiguous)
WM_REGISTER_CPU_OP(patchify_bwd, patchify_bwd, kContiguous)

}  // namespace wm
