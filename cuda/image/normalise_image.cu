// normalise_image: u8 pixels to a network input, y[c, i, j] = (x[i, j, c] - mean[c]) / std[c] in f32, with `unit`
// (x / 255 - mean) / std (kernels.md P2). The divisions are IEEE ones, so the bits are those of the CPU's table.
// Floor: 3 bytes read and 12 written a pixel; expected to be bound by memory.
#include "cuda/image/normalise.cuh"

namespace wm::cuda {

namespace {

// kPixels neighbours: 1, or 4 as three words.
template <int kPixels>
__device__ __forceinline__ void read_pixels(const uint8_t *image, int64_t first, uint8_t (&sample)[3 * kPixels]) {
  if constexpr (kPixels == 4) {
    const auto *words = reinterpret_cast<const uint32_t *>(image + 3 * first);
#pragma unroll
    for (int k = 0; k < 3; ++k) {
      const uint32_t word = __ldg(words + k);
#pragma unroll
      for (int b = 0; b < 4; ++b) sample[4 * k + b] = static_cast<uint8_t>(word >> (8 * b));
    }
  } else {
#pragma unroll
    for (int k = 0; k < 3 * kPixels; ++k) sample[k] = image[3 * first + k];
  }
}

// image [pixels, 3], mean, std [3] -> out [3, pixels] (=). 256 threads a block, kPixels pixels a thread, no shared
// memory.
template <int kPixels>
__global__ void __launch_bounds__(256)
    normalise_image_kernel(const uint8_t *image, const float *mean, const float *std, bool unit, int64_t pixels,
                           Refusal refusal, float *out) {
  const int64_t first = grid_index() * kPixels;
  if (blockIdx.x == 0) refuse_std(std, refusal);
  if (first >= pixels) return;
  uint8_t sample[3 * kPixels];
  read_pixels<kPixels>(image, first, sample);
#pragma unroll
  for (int c = 0; c < 3; ++c) {
    const float m = __ldg(mean + c), s = __ldg(std + c);
    Vector<float, kPixels> y;
#pragma unroll
    for (int k = 0; k < kPixels; ++k) {
      const auto v = static_cast<float>(sample[3 * k + c]);
      y.value[k] = __fdiv_rn((unit ? __fdiv_rn(v, 255.0f) : v) - m, s);
    }
    *reinterpret_cast<Vector<float, kPixels> *>(out + c * pixels + first) = y;
  }
}

template <int kPixels>
void launch(LaunchCall &call, bool unit, int64_t pixels) {
  WM_LAUNCH((normalise_image_kernel<kPixels>), dim3(blocks_for(pixels, 256 * kPixels)), dim3(256), 0,
            call.stream(), call.in(0).as<const uint8_t>(), call.in(1).as<const float>(), call.in(2).as<const float>(),
            unit, pixels, refusal_of_std(call), call.out(0).as<float>());
}

// image u8 [H, W, 3], mean f32 [3], std f32 [3] -> f32 [3, H, W]; attr: unit.
void normalise_image(LaunchCall &call) {
  const TensorView &image = call.in(0), &mean = call.in(1), &std = call.in(2), &out = call.out(0);
  if (image.dtype != DType::u8 || image.ndim != 3 || image.dim(2) != 3) call.reject("the image must be u8 [H, W, 3]");
  if (mean.dtype != DType::f32 || std.dtype != DType::f32 || mean.numel() != 3 || std.numel() != 3)
    call.reject("mean and std must be f32 [3]");
  if (out.dtype != DType::f32 || out.numel() != image.numel()) call.reject("the output must be f32 [3, H, W]");
  const int64_t pixels = image.dim(0) * image.dim(1);
  const bool unit = call.attr_flag(0);
  if (vector_aligned<uint32_t, 1>(image.data, 1) && vector_aligned<float, 4>(out.data, pixels))
    launch<4>(call, unit, pixels);
  else
    launch<1>(call, unit, pixels);
}

}  // namespace

WM_REGISTER_CUDA_OP(normalise_image, normalise_image, kContiguous)

}  // namespace wm::cuda
