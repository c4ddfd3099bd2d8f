// Tensors from nothing: fill (value, dtype, rank, sizes), iota (start, step, dtype, rank, sizes), random_uniform and
// random_normal (seedLow, seedHigh, offset, a, b, dtype, rank, sizes: uniform in [a, b), or mean a and deviation b).
// Random element i takes its number from Philox block offset + i / 4; arithmetic is f64 with no fused operations, so all
// but the normal distribution, whose logarithm and angle functions are the library's, has the CPU's bits.
// Floor: the output once at the memory's bandwidth; expected limiter of random_normal: f64 arithmetic.
#include "cuda/core/strided.cuh"
#include "native/core/philox.h"

namespace wm::cuda {

namespace {

// f64 outputs are offered: they cost nothing here.
template <class F>
void dispatch_number(const LaunchCall &call, DType dtype, F &&body) {
  switch (dtype) {
    case DType::i32: return body(int32_t{});
    case DType::u8:
    case DType::boolean: return body(uint8_t{});
    case DType::f64: return body(double{});
    default: return dispatch_float(call, dtype, body);
  }
}

template <class T>
WM_HOST_DEVICE T number(double x) {
  if constexpr (sizeof(T) == 2) return from_float<T>(static_cast<float>(x));
  else return static_cast<T>(x);
}

// Each gives four neighbouring numbers, of elements i .. i + 3 (i a multiple of four).
struct Constant {
  double x;
  __device__ void operator()(int64_t, double (&y)[4]) const { y[0] = y[1] = y[2] = y[3] = x; }
};

struct Ramp {
  double start, step;
  __device__ void operator()(int64_t i, double (&y)[4]) const {
#pragma unroll
    for (int k = 0; k < 4; ++k) y[k] = __dadd_rn(start, __dmul_rn(step, static_cast<double>(i + k)));
  }
};

struct Stream {
  uint32_t key_low, key_high;
  uint64_t offset;
  double a, b;

  static Stream of(const LaunchCall &call) {
    return {static_cast<uint32_t>(call.attr_int(0)), static_cast<uint32_t>(call.attr_int(1)),
            static_cast<uint64_t>(call.attr_int(2)), call.attr(3), call.attr(4)};
  }
  __device__ PhiloxBlock block(int64_t i) const {
    return philox_4x32(key_low, key_high, offset + static_cast<uint64_t>(i) / 4);
  }
};

struct Uniform : Stream {
  explicit Uniform(const Stream &stream) : Stream(stream) {}
  __device__ void operator()(int64_t i, double (&y)[4]) const {
    const PhiloxBlock words = block(i);
    const double width = __dsub_rn(b, a);
#pragma unroll
    // 24 bits: exact in f32, never 1.
    for (int k = 0; k < 4; ++k) y[k] = __dadd_rn(a, __dmul_rn(width, (words.word[k] >> 8) * 0x1p-24));
  }
};

// Box-Muller on the pairs (0, 1) and (2, 3) of a block; (word + 1/2) 2^-32 is never 0.
struct Normal : Stream {
  explicit Normal(const Stream &stream) : Stream(stream) {}
  __device__ void operator()(int64_t i, double (&y)[4]) const {
    const PhiloxBlock words = block(i);
#pragma unroll
    for (int pair = 0; pair < 4; pair += 2) {
      const double radius = sqrt(__dmul_rn(-2.0, log((words.word[pair] + 0.5) * 0x1p-32)));
      const double angle = 6.283185307179586 * ((words.word[pair + 1] + 0.5) * 0x1p-32);
      const double scale = __dmul_rn(b, radius);
      y[pair] = __dadd_rn(a, __dmul_rn(scale, cos(angle)));
      y[pair + 1] = __dadd_rn(a, __dmul_rn(scale, sin(angle)));
    }
  }
};

// y [n] (=). 256 threads a block, V elements a thread (a multiple of four, 16 bytes and more), no shared memory.
template <class Value, class T, int V>
__global__ void __launch_bounds__(kMapThreads) generate_kernel(Value value, T *y, int64_t n) {
  const int64_t first = (static_cast<int64_t>(blockIdx.x) * kMapThreads + threadIdx.x) * V;
  if (first >= n) return;
  constexpr int kPart = V < kVectorWidth<T> ? V : kVectorWidth<T>;
  Vector<T, kPart> part;
#pragma unroll
  for (int i = 0; i < V; i += 4) {
    double four[4];
    value(first + i, four);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      part.value[(i + k) % kPart] = number<T>(four[k]);
      const int64_t begin = first + i + k + 1 - kPart;
      if ((i + k + 1) % kPart == 0 && begin < n) store_part(y + begin, part, n - begin);
    }
  }
}

template <class Value>
void generate(LaunchCall &call, const Value &value) {
  const TensorView &out = call.out(0);
  dispatch_number(call, out.dtype, [&](auto zero) {
    using T = decltype(zero);
    constexpr int kWidth = kVectorWidth<T> < 4 ? 4 : kVectorWidth<T>;
    if (!aligned_to(out.data, 16)) call.reject("an output must lie at a multiple of 16 bytes");
    WM_LAUNCH((generate_kernel<Value, T, kWidth>), dim3(blocks_for(out.numel(), kMapThreads * kWidth)),
              dim3(kMapThreads), 0, call.stream(), value, out.as<T>(), out.numel());
  });
}

double in_range(const LaunchCall &call, double x) {
  const DType dtype = call.out(0).dtype;
  if (dtype == DType::i32 && !(x >= -2147483648.0 && x <= 2147483647.0)) call.reject("%g does not fit i32", x);
  if (dtype_size(dtype) == 1 && !(x >= 0.0 && x <= 255.0)) call.reject("%g does not fit %s", x, dtype_name(dtype));
  return x;
}

void fill(LaunchCall &call) { generate(call, Constant{in_range(call, call.attr(0))}); }

void iota(LaunchCall &call) {
  const double start = call.attr(0), step = call.attr(1);
  const int64_t n = call.out(0).numel();
  if (n > 0) {
    in_range(call, start);
    in_range(call, start + step * static_cast<double>(n - 1));
  }
  generate(call, Ramp{start, step});
}

void random_uniform(LaunchCall &call) { generate(call, Uniform(Stream::of(call))); }
void random_normal(LaunchCall &call) { generate(call, Normal(Stream::of(call))); }

}  // namespace

WM_REGISTER_CUDA_OP(fill, fill, kContiguous)
WM_REGISTER_CUDA_OP(iota, iota, kContiguous)
WM_REGISTER_CUDA_OP(random_uniform, random_uniform, kContiguous)
WM_REGISTER_CUDA_OP(random_normal, random_normal, kContiguous)

}  // namespace wm::cuda
