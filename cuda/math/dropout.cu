// y = x / (1 - rate) where the unit of an element is kept, else 0. A unit is `group` neighbouring elements (1: dropout;
// a whole sample: drop-path); unit u takes its number from word u % 4 of Philox block offset + u / 4: the CPU's stream,
// bit for bit. Attributes: seedLow, seedHigh, offset, rate, group.
// Floor: x and y once at the memory's bandwidth. Philox costs ten rounds of two wide multiplications for four elements,
// expected to stay under that.
#include <cmath>

#include "cuda/core/strided.cuh"
#include "native/core/philox.h"

namespace wm::cuda {

namespace {

struct Mask {
  uint32_t key_low, key_high;
  uint64_t offset;
  uint32_t threshold;  // in steps of 2^-24: a number below it drops its unit
  float factor;
  bool aligned;  // x and y are at multiples of 16 bytes
  Divisor group;

  __device__ uint32_t number(int64_t unit) const {
    const PhiloxBlock block = philox_4x32(key_low, key_high, offset + static_cast<uint64_t>(unit) / 4);
    const int k = static_cast<int>(unit % 4);
    return (k < 2 ? (k == 0 ? block.word[0] : block.word[1]) : (k == 2 ? block.word[2] : block.word[3])) >> 8;
  }
};

template <class T>
__device__ T kept_or_zero(const Mask &mask, uint32_t number, T x) {
  return from_float<T>(number >= mask.threshold ? to_float(x) * mask.factor : 0.0f);
}

// x, y [n] (=). 256 threads a block, one vector of V elements a thread (a multiple of four: whole Philox blocks), no
// shared memory.
template <class T, int V>
__global__ void __launch_bounds__(kMapThreads) drop_elements_kernel(Mask mask, const T *x, T *y, int64_t n) {
  const int64_t begin = (static_cast<int64_t>(blockIdx.x) * kMapThreads + threadIdx.x) * V;
  if (begin >= n) return;
  Vector<T, V> values = load_part<V>(x + begin, n - begin, mask.aligned);
#pragma unroll
  for (int i = 0; i < V; i += 4) {
    const PhiloxBlock block =
        philox_4x32(mask.key_low, mask.key_high, mask.offset + static_cast<uint64_t>(begin + i) / 4);
#pragma unroll
    for (int k = 0; k < 4; ++k) values.value[i + k] = kept_or_zero(mask, block.word[k] >> 8, values.value[i + k]);
  }
  store_part<V>(y + begin, values, n - begin, mask.aligned);
}

// x, y [n] (=) in groups; V elements a thread, which may span groups. 256 threads a block, no shared memory.
template <class T, int V>
__global__ void __launch_bounds__(kMapThreads) drop_groups_kernel(Mask mask, const T *x, T *y, int64_t n) {
  const int64_t begin = (static_cast<int64_t>(blockIdx.x) * kMapThreads + threadIdx.x) * V;
  if (begin >= n) return;
  Vector<T, V> values = load_part<V>(x + begin, n - begin, mask.aligned);
  int64_t unit = begin;
  int64_t left = mask.group.d - mask.group.split(unit);  // elements of the unit from here on
  uint32_t number = mask.number(unit);
#pragma unroll
  for (int i = 0; i < V; ++i) {
    if (left == 0) {
      number = mask.number(++unit);
      left = mask.group.d;
    }
    values.value[i] = kept_or_zero(mask, number, values.value[i]);
    --left;
  }
  store_part<V>(y + begin, values, n - begin, mask.aligned);
}

void dropout(LaunchCall &call) {
  const TensorView &x = call.in(0), &out = call.out(0);
  const double rate = call.attr(3);
  const int64_t group = call.attr_int(4), n = x.numel();
  if (group < 1 || out.dtype != x.dtype || out.numel() != n) call.reject("the output must match x, and group be positive");
  if (!(rate >= 0.0 && rate < 1.0)) call.reject("the rate must be from 0 on and below 1, got %g", rate);
  Mask mask;
  mask.key_low = static_cast<uint32_t>(call.attr_int(0));
  mask.key_high = static_cast<uint32_t>(call.attr_int(1));
  mask.offset = static_cast<uint64_t>(call.attr_int(2));
  // number 2^-24 >= rate exactly where number >= ceil(rate 2^24): the product is exact.
  mask.threshold = static_cast<uint32_t>(std::ceil(rate * 0x1p24));
  mask.factor = static_cast<float>(1.0 / (1.0 - rate));
  mask.group = Divisor(group, n);
  mask.aligned = aligned_to(x.data, 16) && aligned_to(out.data, 16);
  dispatch_float(call, x.dtype, [&](auto zero) {
    using T = decltype(zero);
    constexpr int kWidth = kVectorWidth<T>;
    const auto kernel = group == 1 ? drop_elements_kernel<T, kWidth> : drop_groups_kernel<T, kWidth>;
    WM_LAUNCH(kernel, dim3(blocks_for(n, kMapThreads * kWidth)), dim3(kMapThreads), 0, call.stream(), mask,
              x.as<const T>(), out.as<T>(), n);
  });
}

}  // namespace

WM_REGISTER_CUDA_OP(dropout, dropout, kContiguous)

}  // namespace wm::cuda
