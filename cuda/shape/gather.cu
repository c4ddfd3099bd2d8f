// gather: y[i, :] = x[index[i], :] for x [V, D], i32 indices of any shape; any dtype.
// scatter_add, its gradient: dx[v, :] = sum of dy[i, :] over index[i] = v, in the order of i, in f32.
// Indices lie on the device and are checked there: one beyond x or dx is refused, and nothing is read or added for it.
// Floor of gather: the rows read and written once at the memory's bandwidth; of scatter_add: dy and dx once.
// Expected limiter of scatter_add: the latency of its sorting passes, or of one row that very many indices name.
#include "cuda/core/radix_sort.cuh"
#include "cuda/core/words.cuh"

namespace wm::cuda {

namespace {

constexpr int kUnits = 2;  // words a thread

// y [count, row] (=), all bits set where the index is refused. 256 threads a block, no shared memory.
template <class Word>
__global__ void __launch_bounds__(kMapThreads)
gather_kernel(const Word *x, const int32_t *index, Word *y, int64_t words, Divisor row, int64_t rows,
              Refusal refusal) {
  const int64_t first = static_cast<int64_t>(blockIdx.x) * (kMapThreads * kUnits) + threadIdx.x;
  Word values[kUnits];
#pragma unroll
  for (int u = 0; u < kUnits; ++u) {
    int64_t i = first + u * kMapThreads;
    if (i >= words) break;
    const int64_t column = row.split(i);
    const int32_t source = index[i];
    if (source >= 0 && source < rows) {
      values[u] = x[source * row.d + column];
    } else {
      memset(&values[u], 0xff, sizeof(Word));
      refusal.at(i, source);
    }
  }
#pragma unroll
  for (int u = 0; u < kUnits; ++u) {
    if (first + u * kMapThreads < words) y[first + u * kMapThreads] = values[u];
  }
}

void gather(LaunchCall &call) {
  const TensorView &x = call.in(0), &indices = call.in(1), &out = call.out(0);
  if (x.ndim != 2 || out.dtype != x.dtype) call.reject("x must be [V, D]");
  if (indices.dtype != DType::i32) call.reject("indices must be i32");
  const int64_t row = x.shape[1] * static_cast<int64_t>(dtype_size(x.dtype));
  if (out.numel() != indices.numel() * x.shape[1]) call.reject("output size");
  const Refusal refusal = refuse_index(call, x.shape[0]);
  dispatch_word({row, address_of(x.data), address_of(out.data)}, [&](auto zero) {
    using Word = decltype(zero);
    const auto words = static_cast<int64_t>(out.bytes() / sizeof(Word));
    WM_LAUNCH((gather_kernel<Word>), dim3(blocks_for(words, kMapThreads * kUnits)), dim3(kMapThreads), 0, call.stream(),
              x.as<const Word>(), indices.as<const int32_t>(), out.as<Word>(), words,
              Divisor(row / static_cast<int64_t>(sizeof(Word)), words), x.shape[0], refusal);
  });
}

// index [count] -> keys [count] (=): the row each names, `rows` where it names none. 256 threads a block.
__global__ void __launch_bounds__(kMapThreads)
row_keys_kernel(const int32_t *index, uint32_t *keys, int64_t count, int64_t rows, Refusal refusal) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kMapThreads + threadIdx.x;
  if (i >= count) return;
  const int32_t row = index[i];
  const bool fits = row >= 0 && row < rows;
  if (!fits) refusal.at(i, row);
  keys[i] = static_cast<uint32_t>(fits ? row : rows);
}

// Sorted keys [count] -> begin, end [rows] (=, zero where a row has no position): where its positions stand. 256 threads
// a block.
__global__ void __launch_bounds__(kMapThreads)
row_ranges_kernel(const uint32_t *keys, uint32_t *begin, uint32_t *end, int64_t count, int64_t rows) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kMapThreads + threadIdx.x;
  if (i >= count || keys[i] >= rows) return;
  if (i == 0 || keys[i - 1] != keys[i]) begin[keys[i]] = static_cast<uint32_t>(i);
  if (i == count - 1 || keys[i + 1] != keys[i]) end[keys[i]] = static_cast<uint32_t>(i + 1);
}

// Positions of the indices, row by row, each row's in ascending order, and where those of each row begin and end.
struct Positions {
  const uint32_t *order, *begin, *end;
};

Positions sort_positions(LaunchCall &call, const int32_t *index, int64_t count, int64_t rows) {
  if (count > INT32_MAX || rows >= INT32_MAX) {
    call.reject("%lld indices of %lld rows are too many", static_cast<long long>(count), static_cast<long long>(rows));
  }
  auto *begin = call.workspace<uint32_t>(2 * rows), *end = begin + rows;
  call.zero(begin, 2 * static_cast<uint64_t>(rows) * sizeof(uint32_t));
  if (count == 0) return {nullptr, begin, end};
  SortBuffers<uint32_t> buffers(call, count);
  const dim3 grid(blocks_for(count, kMapThreads)), block(kMapThreads);
  WM_LAUNCH(row_keys_kernel, grid, block, 0, call.stream(), index, buffers.keys[0], count, rows,
            refuse_index(call, rows));
  int bits = 1;
  while (rows >> bits != 0) ++bits;
  const int side = sort_keys(call, buffers, count, bits);
  WM_LAUNCH(row_ranges_kernel, grid, block, 0, call.stream(), buffers.keys[side], begin, end, count, rows);
  return {buffers.values[side], begin, end};
}

// dx [rows, width] (=): V neighbouring sums of a row a thread, over the positions order[begin[row]] ..
// order[end[row] - 1]. 256 threads a block, no shared memory.
template <class T, int V>
__global__ void __launch_bounds__(kMapThreads)
scatter_kernel(const T *dy, const uint32_t *order, const uint32_t *begin, const uint32_t *end, T *dx, int64_t units,
               Divisor row_units) {
  const int64_t unit = static_cast<int64_t>(blockIdx.x) * kMapThreads + threadIdx.x;
  if (unit >= units) return;
  int64_t row = unit;
  const int64_t column = row_units.split(row) * V, width = row_units.d * V;
  float sum[V] = {};
  const uint32_t last = end[row];
#pragma unroll 4
  for (uint32_t k = begin[row]; k < last; ++k) {
    const Vector<T, V> term = load_vector<T, V>(dy + order[k] * width + column);
#pragma unroll
    for (int i = 0; i < V; ++i) sum[i] += to_float(term.value[i]);
  }
  Vector<T, V> result;
#pragma unroll
  for (int i = 0; i < V; ++i) result.value[i] = from_float<T>(sum[i]);
  store_vector(dx + unit * V, result);
}

template <class T, int V>
void launch_scatter(LaunchCall &call, const Positions &positions) {
  const TensorView &dy = call.in(0), &out = call.out(0);
  const int64_t units = out.numel() / V;
  WM_LAUNCH((scatter_kernel<T, V>), dim3(blocks_for(units, kMapThreads)), dim3(kMapThreads), 0, call.stream(),
            dy.as<const T>(), positions.order, positions.begin, positions.end, out.as<T>(), units,
            Divisor(out.shape[1] / V, units));
}

// inputs dy [..., D], indices [...]; output [V, D]
void scatter_add(LaunchCall &call) {
  const TensorView &dy = call.in(0), &indices = call.in(1), &out = call.out(0);
  const int64_t count = indices.numel();
  if (indices.dtype != DType::i32) call.reject("indices must be i32");
  if (out.ndim != 2 || out.dtype != dy.dtype || dy.numel() != count * out.shape[1]) call.reject("shapes do not fit");
  if (out.numel() == 0 && count == 0) return;
  const Positions positions = sort_positions(call, indices.as<const int32_t>(), count, out.shape[0]);
  dispatch_float(call, dy.dtype, [&](auto zero) {
    using T = decltype(zero);
    constexpr int kWidth = kVectorWidth<T>;
    const bool vectors = out.shape[1] % kWidth == 0 && aligned_to(dy.data, 16) && aligned_to(out.data, 16);
    if (vectors) launch_scatter<T, kWidth>(call, positions);
    else launch_scatter<T, 1>(call, positions);
  });
}

}  // namespace

WM_REGISTER_CUDA_OP(gather, gather, kContiguous)
WM_REGISTER_CUDA_OP(scatter_add, scatter_add, kContiguous)

}  // namespace wm::cuda
