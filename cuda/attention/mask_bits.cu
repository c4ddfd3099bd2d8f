// mask_bits: packs comparisons into the bit mask of attention: bit j % 8 of byte j / 8 of a row is set where
// x[j] < threshold. Bits behind N are 0, as are those of a NaN. Serves Mask2Former's decoder (kernels.md b3).
// Floor: the bytes of x over 4.3 TB/s. Expected limiter: those bytes where rows are contiguous.
#include "cuda/core/op.h"

namespace wm::cuda {

namespace {

constexpr int kThreads = 256;

struct Strided {
  int ndim;
  int64_t shape[kMaxDims], stride[kMaxDims];
};

// x [rows, N] by its steps -> out u8 [rows, ceil(N / 8)] (=). One thread a key: a vote of 32 lanes gives four bytes, and
// every eighth lane stores its own. 256 threads, no shared memory.
template <class T>
__global__ void mask_bits_kernel(const T *x, Strided steps, uint8_t *out, int64_t rows, int64_t n, float threshold) {
  const int64_t bytes = (n + 7) / 8, padded = (n + 31) / 32 * 32;
  const int64_t at = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const int64_t row = at / padded, j = at % padded;
  bool below = false;
  if (row < rows && j < n) {
    int64_t rest = row, offset = j * steps.stride[steps.ndim - 1];
    for (int axis = steps.ndim - 2; axis >= 0; --axis) {
      offset += rest % steps.shape[axis] * steps.stride[axis];
      rest /= steps.shape[axis];
    }
    below = to_float(x[offset]) < threshold;
  }
  const unsigned bits = __ballot_sync(kFullMask, below);
  if (row < rows && j < n && j % 8 == 0) out[row * bytes + j / 8] = static_cast<uint8_t>(bits >> (j % 32) & 0xffu);
}

void mask_bits(LaunchCall &call) {
  const TensorView &x = call.in(0), &out = call.out(0);
  if (x.ndim < 1) call.reject("x must have an axis");
  const int64_t n = x.dim(-1), bytes = (n + 7) / 8;
  const int64_t rows = n == 0 ? 0 : x.numel() / n;
  if (out.dtype != DType::u8 || out.numel() != rows * bytes) call.reject("the output must be u8 [..., ceil(N / 8)]");
  Strided steps{x.ndim, {}, {}};
  for (int axis = 0; axis < x.ndim; ++axis) {
    steps.shape[axis] = x.shape[axis];
    steps.stride[axis] = x.stride[axis];
  }
  dispatch_float(call, x.dtype, [&](auto zero) {
    using T = decltype(zero);
    WM_LAUNCH((mask_bits_kernel<T>), dim3(blocks_for(rows * ((n + 31) / 32 * 32), kThreads)), dim3(kThreads), 0, call.stream(),
              x.as<const T>(), steps, out.as<uint8_t>(), rows, n, static_cast<float>(call.attr(0)));
  });
}

}  // namespace

WM_REGISTER_CUDA_OP(mask_bits, mask_bits, kStrided)

}  // namespace wm::cuda
