// y[i] = f(a[i], ...) over one, two or three strided, broadcast operands: the one kernel behind all elementwise ops.
//
// A thread makes a few units of V elements; the loads of all of them come before the first store. Floor: all operands and
// the output once at the memory's bandwidth; that is also the expected limiter wherever vectors fit (V = 16 bytes), else
// single-element accesses and index arithmetic (V = 1).
#pragma once

#include "cuda/core/strided.cuh"

namespace wm::cuda {

// An operand of V elements: read as a vector, or one element for all of them.
template <int V, class T>
__device__ inline Vector<T, V> load_operand(const T *x, int64_t offset, bool single, int64_t left) {
  if constexpr (V > 1) {
    if (single) {
      Vector<T, V> vector;
      const T value = x[offset];
#pragma unroll
      for (int i = 0; i < V; ++i) vector.value[i] = value;
      return vector;
    }
  }
  return load_part<V>(x + offset, left);
}

// Units a thread makes: 32 bytes of vectors in flight a thread fill the memory's latency at full occupancy.
template <int V, int operands>
constexpr int kMapUnits = operands == 1 ? (V == 1 ? 4 : 2) : (V == 1 ? 2 : 1);

// y [numel] (=), contiguous. 256 threads a block, no shared memory.
template <int V, class F, class Y, class A>
__global__ void __launch_bounds__(kMapThreads) map1_kernel(F f, StridedIndex<1> index, const A *a, Y *y) {
  constexpr int kUnits = kMapUnits<V, 1>;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kMapThreads * kUnits + threadIdx.x;
  Vector<A, V> x[kUnits];
#pragma unroll
  for (int u = 0; u < kUnits; ++u) {
    const int64_t unit = first + u * kMapThreads;
    if (unit >= index.units) break;
    int64_t at[1];
    index.locate(unit, at);
    x[u] = load_operand<V>(a, at[0], index.single[0], index.numel - unit * V);
  }
#pragma unroll
  for (int u = 0; u < kUnits; ++u) {
    const int64_t unit = first + u * kMapThreads;
    if (unit >= index.units) break;
    Vector<Y, V> result;
#pragma unroll
    for (int i = 0; i < V; ++i) result.value[i] = f(x[u].value[i]);
    store_part<V>(y + unit * V, result, index.numel - unit * V);
  }
}

// As map1_kernel, for two operands.
template <int V, class F, class Y, class A, class B>
__global__ void __launch_bounds__(kMapThreads)
map2_kernel(F f, StridedIndex<2> index, const A *a, const B *b, Y *y) {
  constexpr int kUnits = kMapUnits<V, 2>;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kMapThreads * kUnits + threadIdx.x;
  Vector<A, V> p[kUnits];
  Vector<B, V> q[kUnits];
#pragma unroll
  for (int u = 0; u < kUnits; ++u) {
    const int64_t unit = first + u * kMapThreads;
    if (unit >= index.units) break;
    int64_t at[2];
    index.locate(unit, at);
    p[u] = load_operand<V>(a, at[0], index.single[0], index.numel - unit * V);
    q[u] = load_operand<V>(b, at[1], index.single[1], index.numel - unit * V);
  }
#pragma unroll
  for (int u = 0; u < kUnits; ++u) {
    const int64_t unit = first + u * kMapThreads;
    if (unit >= index.units) break;
    Vector<Y, V> result;
#pragma unroll
    for (int i = 0; i < V; ++i) result.value[i] = f(p[u].value[i], q[u].value[i]);
    store_part<V>(y + unit * V, result, index.numel - unit * V);
  }
}

// As map1_kernel, for three operands and one unit a thread.
template <int V, class F, class Y, class A, class B, class C>
__global__ void __launch_bounds__(kMapThreads)
map3_kernel(F f, StridedIndex<3> index, const A *a, const B *b, const C *c, Y *y) {
  const int64_t unit = static_cast<int64_t>(blockIdx.x) * kMapThreads + threadIdx.x;
  if (unit >= index.units) return;
  const int64_t left = index.numel - unit * V;
  int64_t at[3];
  index.locate(unit, at);
  const Vector<A, V> p = load_operand<V>(a, at[0], index.single[0], left);
  const Vector<B, V> q = load_operand<V>(b, at[1], index.single[1], left);
  const Vector<C, V> r = load_operand<V>(c, at[2], index.single[2], left);
  Vector<Y, V> result;
#pragma unroll
  for (int i = 0; i < V; ++i) result.value[i] = f(p.value[i], q.value[i], r.value[i]);
  store_part<V>(y + unit * V, result, left);
}

template <int V, class Y, class A, class F>
void launch_map1(LaunchCall &call, F f, const StridedLayout &layout, const TensorView &a, const TensorView &out) {
  const StridedIndex<1> index(layout, V);
  WM_LAUNCH((map1_kernel<V, F, Y, A>), blocks_for(index.units, kMapThreads * kMapUnits<V, 1>), dim3(kMapThreads), 0,
            call.stream(), f, index, a.as<const A>(), out.as<Y>());
}

// out = f(a)
template <class Y, class A, class F>
void map(LaunchCall &call, F f, const TensorView &a, const TensorView &out) {
  const StridedLayout layout(call, out, {&a});
  constexpr int kWidth = vector_width<Y, A>();
  if (vectors_fit(layout, kWidth, {&a}, out)) launch_map1<kWidth, Y, A>(call, f, layout, a, out);
  else launch_map1<1, Y, A>(call, f, layout, a, out);
}

template <int V, class Y, class A, class B, class F>
void launch_map2(LaunchCall &call, F f, const StridedLayout &layout, const TensorView &a, const TensorView &b,
                 const TensorView &out) {
  const StridedIndex<2> index(layout, V);
  WM_LAUNCH((map2_kernel<V, F, Y, A, B>), blocks_for(index.units, kMapThreads * kMapUnits<V, 2>), dim3(kMapThreads),
            0, call.stream(), f, index, a.as<const A>(), b.as<const B>(), out.as<Y>());
}

// out = f(a, b)
template <class Y, class A, class B, class F>
void map(LaunchCall &call, F f, const TensorView &a, const TensorView &b, const TensorView &out) {
  const StridedLayout layout(call, out, {&a, &b});
  constexpr int kWidth = vector_width<Y, A, B>();
  if (vectors_fit(layout, kWidth, {&a, &b}, out)) launch_map2<kWidth, Y, A, B>(call, f, layout, a, b, out);
  else launch_map2<1, Y, A, B>(call, f, layout, a, b, out);
}

template <int V, class Y, class A, class B, class C, class F>
void launch_map3(LaunchCall &call, F f, const StridedLayout &layout, const TensorView &a, const TensorView &b,
                 const TensorView &c, const TensorView &out) {
  const StridedIndex<3> index(layout, V);
  WM_LAUNCH((map3_kernel<V, F, Y, A, B, C>), blocks_for(index.units, kMapThreads), dim3(kMapThreads), 0,
            call.stream(), f, index, a.as<const A>(), b.as<const B>(), c.as<const C>(), out.as<Y>());
}

// out = f(a, b, c)
template <class Y, class A, class B, class C, class F>
void map(LaunchCall &call, F f, const TensorView &a, const TensorView &b, const TensorView &c, const TensorView &out) {
  const StridedLayout layout(call, out, {&a, &b, &c});
  constexpr int kWidth = vector_width<Y, A, B, C>();
  if (vectors_fit(layout, kWidth, {&a, &b, &c}, out)) launch_map3<kWidth, Y, A, B, C>(call, f, layout, a, b, c, out);
  else launch_map3<1, Y, A, B, C>(call, f, layout, a, b, c, out);
}

}  // namespace wm::cuda
