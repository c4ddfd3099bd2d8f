// Where the first NaN or infinity stands: out[0] = its row-major index or -1, out[1] = 0 none, 1 NaN, 2 +inf, 3 -inf.
// A value is not finite exactly when its exponent bits are all ones. Floor: x once at the memory's bandwidth, which is
// also the expected limiter.
#include "cuda/core/strided.cuh"
#include "native/core/float_bits.h"

namespace wm::cuda {

namespace {

constexpr int kVectors = 8;  // a thread: enough loads in flight, few blocks

// found [1] (max): ~index of a bad word, so that the largest stands for the first and zero for none. The maximum of
// integers does not depend on the order of its terms. 256 threads a block, kVectors vectors a thread, no shared memory.
template <class Bits, int V>
__global__ void __launch_bounds__(kMapThreads)
find_kernel(const typename Bits::Word *words, int64_t n, bool aligned, unsigned long long *found) {
  using Word = typename Bits::Word;
  const int64_t first = (static_cast<int64_t>(blockIdx.x) * kMapThreads * kVectors + threadIdx.x) * V;
  Vector<Word, V> vectors[kVectors];
#pragma unroll
  for (int k = 0; k < kVectors; ++k) {
    const int64_t at = first + k * kMapThreads * V;
    vectors[k] = load_part<V>(words + at, at < n ? n - at : 0, aligned);
  }
  unsigned long long best = 0;
#pragma unroll
  for (int k = kVectors - 1; k >= 0; --k) {
#pragma unroll
    for (int i = V - 1; i >= 0; --i) {
      const int64_t at = first + k * kMapThreads * V + i;
      if ((vectors[k].value[i] & Bits::exponent) == Bits::exponent) best = ~static_cast<unsigned long long>(at);
    }
  }
  if (best != 0) atomicMax(found, best);
}

// out [2] (=); one thread.
template <class Bits>
__global__ void describe_kernel(const typename Bits::Word *words, const unsigned long long *found, double *out) {
  if (threadIdx.x != 0) return;
  const unsigned long long key = *found;
  out[0] = -1.0;
  out[1] = 0.0;
  if (key == 0) return;
  const int64_t at = static_cast<int64_t>(~key);
  const typename Bits::Word word = words[at];
  const bool negative = (word >> (8 * sizeof(word) - 1)) != 0;
  out[0] = static_cast<double>(at);
  out[1] = (word & Bits::fraction) != 0 ? 1.0 : negative ? 3.0 : 2.0;
}

void first_non_finite(LaunchCall &call) {
  const TensorView &x = call.in(0), &out = call.out(0);
  if (out.dtype != DType::f64 || out.numel() != 2) call.reject("the output must be f64 [2]");
  dispatch_float(call, x.dtype, [&](auto zero) {
    using Bits = FloatBits<decltype(zero)>;
    using Word = typename Bits::Word;
    constexpr int kWidth = kVectorWidth<Word>;
    const Word *words = x.as<const Word>();
    auto *found = call.workspace<unsigned long long>(1);
    call.zero(found, sizeof *found);
    WM_LAUNCH((find_kernel<Bits, kWidth>), dim3(blocks_for(x.numel(), kMapThreads * kVectors * kWidth)),
              dim3(kMapThreads), 0, call.stream(), words, x.numel(), aligned_to(words, 16), found);
    WM_LAUNCH((describe_kernel<Bits>), dim3(1), dim3(kWarp), 0, call.stream(), words, found, out.as<double>());
  });
}

}  // namespace

WM_REGISTER_CUDA_OP(first_non_finite, first_non_finite, kContiguous)

}  // namespace wm::cuda
