// y = f(a, b) with NumPy broadcasting: add, sub, mul, div, maximum, minimum (floats), and the comparisons equal, less,
// greater (any dtype but f64) whose result is bool. Operands may have any strides. Floor: both operands and the result
// once at the memory's bandwidth (an operand that broadcasts stays in the caches). Kernel: elementwise.cuh.
#include "cuda/math/elementwise.cuh"
#include "cuda/math/functions.cuh"

namespace wm::cuda {

namespace {

#define WM_BINARY(name, expression)                                        \
  struct name {                                                            \
    __device__ float operator()(float p, float q) const { return expression; } \
  };
WM_BINARY(Add, p + q)
WM_BINARY(Sub, p - q)
WM_BINARY(Mul, p *q)
WM_BINARY(Div, p / q)
WM_BINARY(Maximum, max_of(p, q))
WM_BINARY(Minimum, min_of(p, q))
#undef WM_BINARY

// f on stored floats, computed in f32.
template <class F, class T>
struct StoredBinary {
  F f;
  __device__ T operator()(T p, T q) const { return from_float<T>(f(to_float(p), to_float(q))); }
};

template <class F>
void binary_op(LaunchCall &call) {
  const TensorView &a = call.in(0), &b = call.in(1), &out = call.out(0);
  if (a.dtype != b.dtype || out.dtype != a.dtype) call.reject("dtypes differ");
  dispatch_float(call, a.dtype, [&](auto zero) {
    using T = decltype(zero);
    map<T, T, T>(call, StoredBinary<F, T>{}, a, b, out);
  });
}

struct Equal {
  template <class C>
  __device__ bool operator()(C p, C q) const { return p == q; }
};
struct Less {
  template <class C>
  __device__ bool operator()(C p, C q) const { return p < q; }
};
struct Greater {
  template <class C>
  __device__ bool operator()(C p, C q) const { return p > q; }
};

__device__ inline int32_t comparable(int32_t x) { return x; }
__device__ inline int32_t comparable(uint8_t x) { return x; }
template <class T>
__device__ inline float comparable(T x) { return to_float(x); }

template <class F, class T>
struct Compared {
  __device__ uint8_t operator()(T p, T q) const { return F{}(comparable(p), comparable(q)) ? 1 : 0; }
};

template <class F>
void comparison_op(LaunchCall &call) {
  const TensorView &a = call.in(0), &b = call.in(1), &out = call.out(0);
  if (a.dtype != b.dtype) call.reject("dtypes differ");
  if (dtype_size(out.dtype) != 1) call.reject("the result must be bool");
  const auto compare = [&](auto zero) {
    using T = decltype(zero);
    map<uint8_t, T, T>(call, Compared<F, T>{}, a, b, out);
  };
  switch (a.dtype) {
    case DType::i32: return compare(int32_t{});
    case DType::u8:
    case DType::boolean: return compare(uint8_t{});
    default: dispatch_float(call, a.dtype, compare);
  }
}

}  // namespace

WM_REGISTER_CUDA_OP(add, binary_op<Add>, kStrided)
WM_REGISTER_CUDA_OP(sub, binary_op<Sub>, kStrided)
WM_REGISTER_CUDA_OP(mul, binary_op<Mul>, kStrided)
WM_REGISTER_CUDA_OP(div, binary_op<Div>, kStrided)
WM_REGISTER_CUDA_OP(maximum, binary_op<Maximum>, kStrided)
WM_REGISTER_CUDA_OP(minimum, binary_op<Minimum>, kStrided)
WM_REGISTER_CUDA_OP(equal, comparison_op<Equal>, kStrided)
WM_REGISTER_CUDA_OP(less, comparison_op<Less>, kStrided)
WM_REGISTER_CUDA_OP(greater, comparison_op<Greater>, kStrided)

}  // namespace wm::cuda
