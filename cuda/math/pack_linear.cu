// pack_linear(weight [N, K] f32, bf16 or f16; bf16) -> u8 [bytes]: a weight for linear_packed. On this device 64 zero bytes and
// the weight row by row, in bf16 or f32; zeros fill what the card's size leaves. An empty weight packs to no bytes.
#include "cuda/math/linear_packed.h"

namespace wm::cuda {

namespace {

constexpr int kThreads = 256;

// weight (strided) -> rows [N, K] (=). 256 threads a block, one element a thread.
template <class From, class To>
__global__ void pack_linear_kernel(const From *weight, To *rows, int64_t n, int64_t k, int64_t row_stride, int64_t k_stride) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < n * k) rows[i] = from_float<To>(to_float(weight[i / k * row_stride + i % k * k_stride]));
}

void pack_linear(LaunchCall &call) {
  const TensorView &weight = call.in(0), &out = call.out(0);
  if (weight.ndim != 2) call.reject("weight must be [N, K], got rank %d", weight.ndim);
  const bool pairs = call.attr_flag(0);
  const int64_t n = weight.dim(0), k = weight.dim(1);
  if (n == 0 || k == 0) return;
  if (out.numel() != packed_linear_bytes(n, k, pairs)) {
    call.reject("the output must have %lld bytes, got %lld", static_cast<long long>(packed_linear_bytes(n, k, pairs)),
                static_cast<long long>(out.numel()));
  }
  call.zero(out.data, static_cast<uint64_t>(out.numel()));
  void *rows = out.as<uint8_t>() + kPackedHeader;
  dispatch_float(call, weight.dtype, [&](auto zero) {
    using T = decltype(zero);
    const auto launch_rows = [&](auto *to) {
      using To = std::remove_pointer_t<decltype(to)>;
      WM_LAUNCH((pack_linear_kernel<T, To>), dim3(blocks_for(n * k, kThreads)), dim3(kThreads), 0, call.stream(),
                weight.as<const T>(), to, n, k, weight.stride[0], weight.stride[1]);
    };
    // One column has room for f32 in either form; the size could not tell them apart.
    if (pairs && k > 1) launch_rows(static_cast<bf16 *>(rows));
    else launch_rows(static_cast<float *>(rows));
  });
}

}  // namespace

WM_REGISTER_CUDA_OP(pack_linear, pack_linear, kStrided)

}  // namespace wm::cuda
