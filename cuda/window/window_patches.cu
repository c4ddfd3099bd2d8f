// window_patches: gather, normalise, pad and cut into patches in one pass (kernels.md P2). Row (n, i, j) holds patch
// (i, j) of window n in the order of the patch convolution's weight, [C, p, p]; padding is 0 after normalisation, what
// does not fill a patch is dropped. All windows of a table in one launch.
// Floor: the image once and the rows written once; expected to be bound by the writes, the image stays in the caches.
#include "cuda/image/normalise.cuh"
#include "cuda/window/boxes.cuh"

namespace wm::cuda {

namespace {

struct PatchPlan {
  int patch, pad_top, pad_left, height, width;  // window size without padding
  int rows, columns;                            // patch grid
  int image_height, image_width;
  bool unit;
};

// image u8 [H, W, 3] -> out [N * rows * columns, 3 p p] (=). A block of 128 threads a patch, kCount neighbours of its row a
// thread and step, no shared memory.
template <class T, int kCount>
__global__ void __launch_bounds__(128, 8)
    window_patches_kernel(const uint8_t *image, const int *boxes, const float *mean, const float *std,
                          const PatchPlan plan, Refusal boxes_refusal, Refusal std_refusal, T *out) {
  const int p = plan.patch, count = 3 * p * p;
  const int64_t index = blockIdx.x, line = quotient(index, plan.columns), n = quotient(line, plan.rows);
  const int y0 = static_cast<int>(line - n * plan.rows) * p - plan.pad_top;
  const int x0 = static_cast<int>(index - line * plan.columns) * p - plan.pad_left;
  const Box box = load_box(boxes, n);
  const bool fits = box_fits(box, plan.height, plan.width, plan.image_height, plan.image_width);
  if (threadIdx.x == 0 && !fits) boxes_refusal.at(n, box.y1, box.x1, box.y2, box.x2);
  if (index == 0) refuse_std(std, std_refusal);
  const uint8_t *origin = image + (int64_t{box.y1} * plan.image_width + box.x1) * 3;
  T *to = out + index * count;
  for (int k = static_cast<int>(threadIdx.x) * kCount; k < count; k += 128 * kCount) {
    int c = k / (p * p), dy = (k - c * p * p) / p, dx = k - (c * p + dy) * p;
    Vector<T, kCount> values;
#pragma unroll
    for (int j = 0; j < kCount; ++j) {
      const int y = y0 + dy, x = x0 + dx;
      float value = 0.0f;
      if (!fits) {
        value = __uint_as_float(0x7fc00000u);
      } else if (y >= 0 && x >= 0 && y < plan.height && x < plan.width) {
        const auto v = static_cast<float>(__ldg(origin + (int64_t{y} * plan.image_width + x) * 3 + c));
        value = __fdiv_rn((plan.unit ? __fdiv_rn(v, 255.0f) : v) - __ldg(mean + c), __ldg(std + c));
      }
      values.value[j] = from_float<T>(value);
      if (++dx == p) {
        dx = 0;
        if (++dy == p) {
          dy = 0;
          ++c;
        }
      }
    }
    store_vector(to + k, values);
  }
}

template <class T, int kCount>
void launch(LaunchCall &call, const PatchPlan &plan, int64_t patches) {
  const Refusal boxes = call.refuses_values([plan](const RefusedValue &seen) {
    const Box box{seen.value[0], seen.value[1], seen.value[2], seen.value[3]};
    return refused_box(seen.position, box, plan.height, plan.width, plan.image_height, plan.image_width);
  });
  WM_LAUNCH((window_patches_kernel<T, kCount>), dim3(blocks_for(patches, 1)), dim3(128), 0, call.stream(),
            call.in(0).as<const uint8_t>(), call.in(1).as<const int>(), call.in(2).as<const float>(),
            call.in(3).as<const float>(), plan, boxes, refusal_of_std(call), call.out(0).as<T>());
}

template <class T>
void gather(LaunchCall &call, const PatchPlan &plan, int64_t patches) {
  constexpr int kFull = kVectorWidth<T>;
  const int64_t count = 3 * int64_t{plan.patch} * plan.patch;
  const void *data = call.out(0).data;
  if (vector_aligned<T, kFull>(data, count)) return launch<T, kFull>(call, plan, patches);
  if (vector_aligned<T, 4>(data, count)) return launch<T, 4>(call, plan, patches);  // bf16 rows of 14 x 14 patches
  launch<T, 1>(call, plan, patches);
}

// image u8 [H, W, 3], boxes i32 [N, 4], mean f32 [3], std f32 [3] -> f32 or bf16 [N, gh*gw, 3*p*p]
// attrs: height, width (of every box), patch, padTop, padLeft, padBottom, padRight, unit, bf16Out
void window_patches(LaunchCall &call) {
  const TensorView &image = call.in(0), &out = call.out(0);
  if (image.dtype != DType::u8 || image.ndim != 3 || image.dim(2) != 3) call.reject("the image must be u8 [H, W, 3]");
  check_boxes(call, call.in(1));
  for (int i = 2; i < 4; ++i) {
    if (call.in(i).dtype != DType::f32 || call.in(i).numel() != 3) call.reject("mean and std must be f32 [3]");
  }
  int value[7];  // height, width, patch, top, left, bottom, right
  constexpr int64_t kMax = int64_t{1} << 24;
  for (int i = 0; i < 7; ++i) {
    const int64_t v = call.attr_int(i);
    if (v < 0 || v > kMax) call.reject("sizes and padding must be 0..%lld", static_cast<long long>(kMax));
    value[i] = static_cast<int>(v);
  }
  if (value[2] < 1 || value[2] > 16384) call.reject("patch must be 1..16384");
  if (image.dim(0) > INT32_MAX || image.dim(1) > INT32_MAX) call.reject("the image is too large");
  PatchPlan plan{value[2], value[3], value[4], value[0], value[1], 0, 0, static_cast<int>(image.dim(0)),
                 static_cast<int>(image.dim(1)), call.attr_flag(7)};
  plan.rows = (value[3] + value[0] + value[5]) / plan.patch;
  plan.columns = (value[4] + value[1] + value[6]) / plan.patch;
  const int64_t patches = call.in(1).dim(0) * plan.rows * plan.columns;
  if (out.numel() != patches * 3 * plan.patch * plan.patch) call.reject("the output does not fit");
  if (out.numel() == 0) return;
  if (out.dtype == DType::bf16) return gather<bf16>(call, plan, patches);
  if (out.dtype != DType::f32) call.reject("the output must be f32 or bf16");
  gather<float>(call, plan, patches);
}

}  // namespace

WM_REGISTER_CUDA_OP(window_patches, window_patches, kContiguous)

}  // namespace wm::cuda
