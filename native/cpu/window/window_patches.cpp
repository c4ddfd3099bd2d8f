// window_patches: gather, normalise, pad and cut into patches in one pass (kernels.md P2). Row (n, i, j)
// holds patch (i, j) of window n in the order of the patch convolution's weight, [C, p, p]; padding is 0
// after normalisation, what does not fill a patch is dropped.
#include <cstring>

#include "native/cpu/image/normalise_table.h"
#include "native/cpu/window/boxes.h"

namespace wm {

namespace {

struct PatchPlan {
  int64_t patch, pad_top, pad_left, height, width;  // window size without padding
  int64_t rows, columns;                            // patch grid
  int64_t image_width;
};

// One row of patches of one window, with the image row of window row 0 and column 0 at `origin`.
template <class T>
void patch_row(const uint8_t *origin, const PatchPlan &plan, const T (&table)[3][256], int64_t i, T *out) {
  const int64_t p = plan.patch;
  const T zero = from_float<T>(0.0f);
  for (int64_t j = 0; j < plan.columns; ++j) {
    const int64_t x0 = j * p - plan.pad_left;
    const int64_t first = x0 < 0 ? (-x0 < p ? -x0 : p) : 0;
    const int64_t last = x0 + p > plan.width ? (plan.width - x0 > first ? plan.width - x0 : first) : p;
    T *patch = out + j * 3 * p * p;
    for (int64_t dy = 0; dy < p; ++dy) {
      const int64_t y = i * p + dy - plan.pad_top;
      const bool inside = y >= 0 && y < plan.height;
      for (int c = 0; c < 3; ++c) {
        T *to = patch + (c * p + dy) * p;
        const int64_t begin = inside ? first : p, end = inside ? last : p;
        for (int64_t dx = 0; dx < begin; ++dx) to[dx] = zero;
        const uint8_t *from = origin + (y * plan.image_width + x0) * 3 + c;
        for (int64_t dx = begin; dx < end; ++dx) to[dx] = table[c][from[3 * dx]];
        for (int64_t dx = end; dx < p; ++dx) to[dx] = zero;
      }
    }
  }
}

template <class T>
void gather(const OpCall &call, const PatchPlan &plan, const Box *boxes, int64_t windows,
            const NormaliseTable &table) {
  T values[3][256];
  for (int c = 0; c < 3; ++c) {
    for (int v = 0; v < 256; ++v) values[c][v] = from_float<T>(table.value[c][v]);
  }
  const uint8_t *image = call.in(0).as<uint8_t>();
  T *out = call.out(0).as<T>();
  const int64_t row_values = plan.columns * 3 * plan.patch * plan.patch;
  call.parallel(windows * plan.rows, 4, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const Box box = boxes[r / plan.rows];
      const uint8_t *origin = image + (box.y1 * plan.image_width + box.x1) * 3;
      patch_row(origin, plan, values, r % plan.rows, out + r * row_values);
    }
  });
}

// image u8 [H, W, 3], boxes i32 [N, 4], mean f32 [3], std f32 [3] -> f32 or bf16 [N, gh*gw, 3*p*p]
// attrs: height, width (of every box), patch, padTop, padLeft, padBottom, padRight, unit, bf16Out
void window_patches(OpCall &call) {
  const TensorView &image = call.in(0);
  const TensorView &out = call.out(0);
  if (image.dtype != DType::u8 || image.ndim != 3 || image.dim(2) != 3)
    call.reject("the image must be u8 [H, W, 3]");
  PatchPlan plan{};
  plan.height = call.attr_int(0);
  plan.width = call.attr_int(1);
  plan.patch = call.attr_int(2);
  plan.pad_top = call.attr_int(3);
  plan.pad_left = call.attr_int(4);
  const int64_t pad_bottom = call.attr_int(5), pad_right = call.attr_int(6);
  plan.image_width = image.dim(1);
  constexpr int64_t kMax = int64_t{1} << 24;
  for (const int64_t v :
       {plan.pad_top, plan.pad_left, pad_bottom, pad_right, plan.height, plan.width, plan.patch}) {
    if (v < 0 || v > kMax) call.reject("sizes and padding must be 0..%lld", static_cast<long long>(kMax));
  }
  if (plan.patch < 1) call.reject("patch must be at least 1");
  const Box *boxes = checked_boxes(call, call.in(1), plan.height, plan.width, image.dim(0), image.dim(1));
  plan.rows = (plan.pad_top + plan.height + pad_bottom) / plan.patch;
  plan.columns = (plan.pad_left + plan.width + pad_right) / plan.patch;
  const int64_t windows = call.in(1).dim(0);
  if (out.numel() != windows * plan.rows * plan.columns * 3 * plan.patch * plan.patch)
    call.reject("output does not fit");
  if (out.numel() == 0) return;
  const NormaliseTable table = make_normalise_table(call, call.in(2), call.in(3), call.attr_flag(7));
  if (out.dtype == DType::bf16) return gather<bf16>(call, plan, boxes, windows, table);
  if (out.dtype != DType::f32) call.reject("the output must be f32 or bf16");
  gather<float>(call, plan, boxes, windows, table);
}

}  // namespace

WM_REGISTER_CPU_OP(window_patches, window_patches, kContiguous)

}  // namespace wm
