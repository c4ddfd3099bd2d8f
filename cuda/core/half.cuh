// Two-byte floats and vectors in kernels. The types and conversions are those of the CPU back end
// (native/core/half.h); here are 16-byte loads and stores of any of them.
#pragma once

#include "cuda/core/simt.h"
#include "native/core/half.h"

#if defined(__CUDACC__) || defined(WM_SIMT)

namespace wm::cuda {

// N values that move as one; N * sizeof(T) is a power of two, at most 16.
template <class T, int N>
struct alignas(sizeof(T) * N) Vector {
  T value[N];
};

// As many values as 16 bytes hold.
template <class T>
constexpr int kVectorWidth = 16 / static_cast<int>(sizeof(T));

template <class T, int N>
__device__ __forceinline__ Vector<T, N> load_vector(const T *address) {
  return *reinterpret_cast<const Vector<T, N> *>(address);
}

template <class T, int N>
__device__ __forceinline__ void store_vector(T *address, const Vector<T, N> &vector) {
  *reinterpret_cast<Vector<T, N> *>(address) = vector;
}

// Whether vectors of N values may be used: the base and every row start at a multiple of their bytes.
template <class T, int N>
inline bool vector_aligned(const void *data, int64_t row_stride) {
  return reinterpret_cast<uintptr_t>(data) % (sizeof(T) * N) == 0 && row_stride % N == 0;
}

}  // namespace wm::cuda

#endif
