// Choosing: argmax over an axis (first index wins) and topk along the last axis (descending, the lower index first among
// equals). A NaN counts as larger than any number. Both work on 64-bit keys, an order-preserving form of the value above
// the complement of the index: keys are unique, and the larger key is the better element.
#include "cuda/core/reduce.cuh"
#include "cuda/core/strided.cuh"

namespace wm::cuda {

namespace {

using Key = unsigned long long;

__device__ inline Key key_of(float x, uint32_t index) {
  uint32_t bits = __float_as_uint(x);
  if (x == 0.0f) bits = 0;  // -0 and 0 are equal
  bits = (bits >> 31) != 0 ? ~bits : bits | 0x80000000u;
  if (x != x) bits = 0xffffffffu;
  return static_cast<Key>(bits) << 32 | (0xffffffffu - index);
}
__device__ inline uint32_t index_of(Key key) { return 0xffffffffu - static_cast<uint32_t>(key); }

constexpr int kThreads = 256;

// x [rows, n] -> out [rows] (=). 256 threads a block; a row is kLanes threads' (a warp, or the block); shared memory: a
// key a warp. Floor: x once at the memory's bandwidth, also the expected limiter.
template <class T, int kLanes>
__global__ void __launch_bounds__(kThreads) argmax_rows_kernel(const T *x, int32_t *out, int64_t rows, int64_t n) {
  constexpr int kRows = kThreads / kLanes;
  __shared__ Key shared[kWarp];
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kRows + threadIdx.x / kLanes;
  const T *source = x + row * n;
  Key best = 0;  // below every element's key
  if (row < rows) {
#pragma unroll 4
    for (int64_t i = lane; i < n; i += kLanes) best = max(best, key_of(to_float(source[i]), static_cast<uint32_t>(i)));
  }
  best = warp_max(best);
  if constexpr (kLanes > kWarp) {
    if (lane % kWarp == 0) shared[lane / kWarp] = best;
    __syncthreads();
    best = warp_max(lane % kWarp < kLanes / kWarp ? shared[lane % kWarp] : Key{0});
  }
  if (row < rows && lane == 0) out[row] = static_cast<int32_t>(index_of(best));
}

// x [outer, length, inner] -> out [outer, inner] (=). 256 threads a block, a column each, neighbours along `inner`; no
// shared memory. Floor and limiter as above, where outer * inner fills the device.
template <class T>
__global__ void __launch_bounds__(kThreads)
argmax_columns_kernel(const T *x, int32_t *out, int64_t columns, int64_t length, int64_t inner, Divisor by_inner) {
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (column >= columns) return;
  int64_t group = column;
  const int64_t at = by_inner.split(group);
  const T *source = x + group * length * inner + at;
  float best = to_float(source[0]);
  int64_t index = 0;
#pragma unroll 4
  for (int64_t c = 1; c < length; ++c) {
    const float value = to_float(source[c * inner]);
    // False once best is NaN, true for a NaN in x.
    const bool better = !(value <= best) && best == best;
    best = better ? value : best;
    index = better ? c : index;
  }
  out[column] = static_cast<int32_t>(index);
}

// Rows from this length on take a block each.
constexpr int64_t kLongRow = 2048;

template <class T>
void launch_argmax(LaunchCall &call, int64_t outer, int64_t length, int64_t inner) {
  const T *x = call.in(0).as<const T>();
  int32_t *out = call.out(0).as<int32_t>();
  if (inner > 1) {
    const int64_t columns = outer * inner;
    WM_LAUNCH((argmax_columns_kernel<T>), dim3(blocks_for(columns, kThreads)), dim3(kThreads), 0, call.stream(), x, out,
              columns, length, inner, Divisor(inner, columns));
  } else if (length < kLongRow) {
    WM_LAUNCH((argmax_rows_kernel<T, kWarp>), dim3(blocks_for(outer, kThreads / kWarp)), dim3(kThreads), 0,
              call.stream(), x, out, outer, length);
  } else {
    WM_LAUNCH((argmax_rows_kernel<T, kThreads>), dim3(blocks_for(outer, 1)), dim3(kThreads), 0, call.stream(), x, out,
              outer, length);
  }
}

void argmax(LaunchCall &call) {
  const TensorView &x = call.in(0), &out = call.out(0);
  const int64_t axis = call.attr_int(0);
  if (axis < 0 || axis >= x.ndim) call.reject("axis %lld for rank %d", static_cast<long long>(axis), x.ndim);
  int64_t outer = 1, inner = 1;
  const int64_t length = x.shape[axis];
  for (int d = 0; d < axis; ++d) outer *= x.shape[d];
  for (int d = static_cast<int>(axis) + 1; d < x.ndim; ++d) inner *= x.shape[d];
  if (out.dtype != DType::i32 || out.numel() != outer * inner) call.reject("output must be i32, axis dropped");
  if (outer == 0 || inner == 0) return;
  if (length < 1 || length > INT32_MAX) call.reject("axis of length %lld", static_cast<long long>(length));
  dispatch_float(call, x.dtype, [&](auto zero) { launch_argmax<decltype(zero)>(call, outer, length, inner); });
}

// ---- topk ----

constexpr int kBins = 256;
constexpr int64_t kMostK = 4096;  // as the card allows: 32 KiB of keys

// The digit that holds the k-th largest element, counted from the top, how many are wanted of it and how many it has.
struct Choice {
  int digit, wanted, within;
};

// Of counts [kBins]; whole block, one digit a thread from the top down. `sums` is shared memory, an int a warp.
__device__ inline void choose_digit(const int *counts, int wanted, int *sums, Choice *choice) {
  const int thread = static_cast<int>(threadIdx.x), lane = thread % kWarp, digit = kBins - 1 - thread;
  const int own = counts[digit];
  int through = own;  // elements from the top digit through this one
  for (int step = 1; step < kWarp; step *= 2) {
    const int other = __shfl_up_sync(kFullMask, through, static_cast<unsigned>(step));
    if (lane >= step) through += other;
  }
  if (lane == kWarp - 1) sums[thread / kWarp] = through;
  __syncthreads();
  for (int warp = 0; warp < thread / kWarp; ++warp) through += sums[warp];
  if (through - own < wanted && wanted <= through) *choice = {digit, wanted - (through - own), own};
  __syncthreads();
}

// The k-th largest key of a row, or a key below it that no element lies between: radix selection, eight bits a round
// from the top, until a digit holds just as many as are wanted. `counts` [kBins] and the others are shared memory; whole block.
template <class T>
__device__ Key threshold_of(const T *row, int n, int k, int *counts, int *sums, Choice *choice) {
  const int thread = static_cast<int>(threadIdx.x);
  Key prefix = 0;
  int wanted = k;
  for (int shift = 56; shift >= 0; shift -= 8) {
    counts[thread] = 0;
    __syncthreads();
    for (int i = thread; i < n; i += kThreads) {
      const Key key = key_of(to_float(row[i]), static_cast<uint32_t>(i));
      // Two shifts: one of 64 is undefined.
      if (key >> shift >> 8 == prefix >> shift >> 8) atomicAdd(&counts[key >> shift & (kBins - 1)], 1);
    }
    __syncthreads();
    choose_digit(counts, wanted, sums, choice);
    const Choice chosen = *choice;
    prefix |= static_cast<Key>(chosen.digit) << shift;
    wanted = chosen.wanted;
    if (chosen.wanted == chosen.within) break;
  }
  return prefix;
}

// keys [size] in shared memory, a power of two, descending (bitonic); whole block.
__device__ inline void sort_descending(Key *keys, int size) {
  for (int run = 2; run <= size; run *= 2) {
    for (int step = run / 2; step > 0; step /= 2) {
      __syncthreads();
      for (int pair = static_cast<int>(threadIdx.x); pair < size / 2; pair += kThreads) {
        const int low = 2 * pair - (pair & (step - 1)), high = low + step;
        const Key a = keys[low], b = keys[high];
        if ((a < b) == ((low & run) == 0)) {
          keys[low] = b;
          keys[high] = a;
        }
      }
    }
  }
  __syncthreads();
}

// x [rows, n] -> values, indices [rows, k] (=). A block of 256 threads a row; shared memory: 8 bytes times k rounded up
// to a power of two, and the counts. The row is read up to nine times, from the second on out of the caches; expected
// limiter: the rounds of selection and sorting, some tens of barriers a row.
template <class T>
__global__ void __launch_bounds__(kThreads)
topk_kernel(const T *x, T *values, int32_t *indices, int n, int k, int size) {
  WM_DYNAMIC_SHARED(Key, keys);
  __shared__ int counts[kBins];
  __shared__ int sums[kThreads / kWarp];
  __shared__ Choice choice;
  __shared__ int taken;
  static_assert(kBins == kThreads, "a thread clears a count");
  const int thread = static_cast<int>(threadIdx.x);
  const T *row = x + static_cast<int64_t>(blockIdx.x) * n;
  const Key least = threshold_of(row, n, k, counts, sums, &choice);
  if (thread == 0) taken = 0;
  for (int i = thread; i < size; i += kThreads) keys[i] = 0;
  __syncthreads();
  for (int i = thread; i < n; i += kThreads) {
    const Key key = key_of(to_float(row[i]), static_cast<uint32_t>(i));
    // Exactly k; in whatever order, the sort makes it one.
    if (key >= least) keys[atomicAdd(&taken, 1)] = key;
  }
  sort_descending(keys, size);
  for (int j = thread; j < k; j += kThreads) {
    const int index = static_cast<int>(index_of(keys[j]));
    const int64_t at = static_cast<int64_t>(blockIdx.x) * k + j;
    values[at] = row[index];
    indices[at] = index;
  }
}

void topk(LaunchCall &call) {
  const TensorView &x = call.in(0), &values = call.out(0), &indices = call.out(1);
  const int64_t k = call.attr_int(0);
  if (x.ndim < 1 || k < 0 || k > x.dim(-1)) call.reject("k is outside the last axis");
  if (x.dim(-1) > INT32_MAX - kThreads) call.reject("a last axis of %lld", static_cast<long long>(x.dim(-1)));
  if (k > kMostK) call.reject("k = %lld is over %lld", static_cast<long long>(k), static_cast<long long>(kMostK));
  const int64_t rows = x.dim(-1) == 0 ? 0 : x.numel() / x.dim(-1);
  if (values.numel() != rows * k || indices.numel() != rows * k) call.reject("output sizes");
  if (values.dtype != x.dtype || indices.dtype != DType::i32) call.reject("output dtypes");
  if (k == 0) return;
  int size = 1;
  while (size < k) size *= 2;
  dispatch_float(call, x.dtype, [&](auto zero) {
    using T = decltype(zero);
    WM_LAUNCH((topk_kernel<T>), dim3(blocks_for(rows, 1)), dim3(kThreads), size * sizeof(Key), call.stream(),
              x.as<const T>(), values.as<T>(), indices.as<int32_t>(), static_cast<int>(x.dim(-1)), static_cast<int>(k),
              size);
  });
}

}  // namespace

WM_REGISTER_CUDA_OP(argmax, argmax, kContiguous)
WM_REGISTER_CUDA_OP(topk, topk, kContiguous)

}  // namespace wm::cuda
