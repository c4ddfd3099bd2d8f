// patchify: pixels [B, C, H, W] -> rows [B, h*w, C*p*p] in the order of a convolution weight [C, p, p]; rows and columns
// that fill no patch are dropped (kernels.md P2). patchify_bwd puts rows back, zeros in the remainder. Any dtype: what
// moves are units of 1 to 16 bytes, the largest that divides the rows of a picture and the runs of a patch.
// Floor: every pixel read and written once; expected to be bound by memory.
#include "cuda/image/rows.cuh"

namespace wm::cuda {

namespace {

struct PatchGrid {
  int64_t images, channels, height, width, patch, rows, columns;
  int64_t units, run;  // units of a row of pixels, of a run of `patch` pixels
};

struct alignas(16) Unit16 {
  uint64_t half[2];
};

// pixels -> patches (=). A block of 128 threads a patch, its units in order.
template <class U>
__global__ void __launch_bounds__(128) patchify_kernel(const U *pixels, const PatchGrid g, U *patches) {
  const int64_t count = g.channels * g.patch * g.run;
  const int64_t index = blockIdx.x, line = quotient(index, g.columns), image = quotient(line, g.rows);
  const int64_t row = line - image * g.rows, column = index - line * g.columns;
  const U *from = pixels + (image * g.channels * g.height + row * g.patch) * g.units + column * g.run;
  U *to = patches + index * count;
  for (int64_t k = threadIdx.x; k < count; k += blockDim.x) {
    const int64_t strip = quotient(k, g.run), channel = quotient(strip, g.patch);
    to[k] = from[(channel * g.height + strip - channel * g.patch) * g.units + k - strip * g.run];
  }
}

// patches -> pixels (=), zeros where no patch reaches. 256 threads a block over rows of pixels and their units.
template <class U>
__global__ void __launch_bounds__(kRowThreads) patchify_bwd_kernel(const U *patches, const PatchGrid g, U *pixels) {
  const int64_t line = grid_row();
  if (line >= g.images * g.channels * g.height) return;
  const int64_t plane = quotient(line, g.height), image = quotient(plane, g.channels);
  const int64_t y = line - plane * g.height, row = quotient(y, g.patch);
  const int64_t strip = (plane - image * g.channels) * g.patch + y - row * g.patch;
  for (int64_t unit = grid_column(); unit < g.units; unit += column_step()) {
    const int64_t column = quotient(unit, g.run);
    U value{};
    if (row < g.rows && column < g.columns) {
      const int64_t patch = (image * g.rows + row) * g.columns + column;
      value = patches[(patch * g.channels * g.patch + strip) * g.run + unit - column * g.run];
    }
    pixels[line * g.units + unit] = value;
  }
}

PatchGrid make_grid(const LaunchCall &call, const TensorView &pixels, const TensorView &patches) {
  PatchGrid g{};
  g.patch = call.attr_int(0);
  if (pixels.ndim != 4 || g.patch < 1 || g.patch > INT32_MAX)
    call.reject("pixels must be [B, C, H, W] and patch at least 1");
  g.images = pixels.dim(0);
  g.channels = pixels.dim(1);
  g.height = pixels.dim(2);
  g.width = pixels.dim(3);
  g.rows = g.height / g.patch;
  g.columns = g.width / g.patch;
  if (patches.dtype != pixels.dtype ||
      patches.numel() != g.images * g.rows * g.columns * g.channels * g.patch * g.patch) {
    call.reject("patch rows do not fit the pixels");
  }
  return g;
}

// launch(a value of the unit's type) with units and run of the grid filled in.
template <class F>
void by_unit(const TensorView &pixels, const TensorView &patches, PatchGrid &g, F &&launch) {
  const auto size = static_cast<int64_t>(dtype_size(pixels.dtype));
  const int64_t row = g.width * size, run = g.patch * size;
  const auto all = static_cast<int64_t>(reinterpret_cast<uintptr_t>(pixels.data) |
                                        reinterpret_cast<uintptr_t>(patches.data)) | row | run;
  int64_t unit = 16;
  while (all % unit != 0) unit /= 2;
  g.units = row / unit;
  g.run = run / unit;
  switch (unit) {
    case 16: return launch(Unit16{});
    case 8: return launch(uint64_t{});
    case 4: return launch(uint32_t{});
    case 2: return launch(uint16_t{});
    default: return launch(uint8_t{});
  }
}

// pixels [B, C, H, W] -> [B, h*w, C*p*p]; attr: patch
void patchify(LaunchCall &call) {
  const TensorView &pixels = call.in(0), &patches = call.out(0);
  PatchGrid g = make_grid(call, pixels, patches);
  if (patches.numel() == 0) return;
  by_unit(pixels, patches, g, [&](auto zero) {
    using U = decltype(zero);
    WM_LAUNCH((patchify_kernel<U>), dim3(blocks_for(g.images * g.rows * g.columns, 1)), dim3(128), 0, call.stream(),
              pixels.as<const U>(), g, patches.as<U>());
  });
}

// dy [B, h*w, C*p*p] -> [B, C, H, W]; attrs: patch, C, H, W
void patchify_bwd(LaunchCall &call) {
  const TensorView &dy = call.in(0), &dx = call.out(0);
  PatchGrid g = make_grid(call, dx, dy);
  if (dx.numel() == 0) return;
  by_unit(dx, dy, g, [&](auto zero) {
    using U = decltype(zero);
    const RowGrid grid = row_grid(g.images * g.channels * g.height, g.units);
    WM_LAUNCH((patchify_bwd_kernel<U>), grid.grid, grid.block, 0, call.stream(), dy.as<const U>(), g, dx.as<U>());
  });
}

}  // namespace

WM_REGISTER_CUDA_OP(patchify, patchify, kContiguous)
WM_REGISTER_CUDA_OP(patchify_bwd, patchify_bwd, kContiguous)

}  // namespace wm::cuda
