// sum, mean, max, min over a set of axes (attribute: bit mask), and sum_to, the sum over broadcast axes. Sums in f32; max
// and min are NaN where there is one. Neighbouring axes of one kind count as one. Where the last axis is reduced, a warp or
// block reduces a run of elements; where it is kept, threads go down columns. Long reductions are cut into parts by their
// length alone and joined by a second kernel, so the order of a sum follows from the shape. Floor: x once through memory,
// which is the expected limiter.
#include "cuda/math/columns.cuh"
#include "cuda/math/rows.cuh"
#include "native/core/shape_checks.h"

#include <algorithm>
#include <cmath>

namespace wm::cuda {

namespace {

enum class Reduction { sum, mean, max, min };

// Offset of an index that runs over some dimensions of x, row by row.
struct IndexMap {
  int dims = 0;
  uint32_t shape[kMaxDims] = {};
  int64_t step[kMaxDims] = {};

  __host__ __device__ int64_t offset(uint32_t index) const {
    if (dims == 1) return index * step[0];
    int64_t at = 0;
    for (int d = dims - 1; d >= 0; --d) {
      at += index % shape[d] * step[d];
      index /= shape[d];
    }
    return at;
  }
  void add(int64_t size, int64_t stride) {
    shape[dims] = static_cast<uint32_t>(size);
    step[dims++] = stride;
  }
};

// x as rows of `inner` elements that are kept or reduced as a whole, and the other dimensions of each kind.
struct ReducePlan {
  IndexMap kept_map, reduced_map;
  int64_t inner = 1, kept = 1, reduced = 1;
  bool inner_reduced = false;

  int64_t outputs() const { return inner_reduced ? kept : kept * inner; }
  int64_t elements() const { return inner_reduced ? reduced * inner : reduced; }  // of one output
};

ReducePlan plan_reduction(const LaunchCall &call, const TensorView &x, uint32_t mask) {
  int count = 0;
  int64_t shape[kMaxDims];
  bool is_reduced[kMaxDims];
  for (int d = 0; d < x.ndim; ++d) {
    if (x.shape[d] == 1) continue;
    const bool r = (mask >> d & 1u) != 0;
    if (count > 0 && is_reduced[count - 1] == r) {
      shape[count - 1] *= x.shape[d];
    } else {
      shape[count] = x.shape[d];
      is_reduced[count++] = r;
    }
  }
  ReducePlan plan;
  if (count == 0) return plan;
  plan.inner = shape[count - 1];
  plan.inner_reduced = is_reduced[count - 1];
  for (int d = 0; d < count - 1; ++d) {
    int64_t step = 1;
    for (int e = d + 1; e < count; ++e) step *= shape[e];
    (is_reduced[d] ? plan.reduced_map : plan.kept_map).add(shape[d], step);
    (is_reduced[d] ? plan.reduced : plan.kept) *= shape[d];
  }
  constexpr int64_t kMost = int64_t{1} << 31;
  if (plan.kept >= kMost || plan.reduced >= kMost) call.reject("more than 2^31 rows of one kind");
  return plan;
}

// What the first stage writes: outputs where there is one part, else partial [parts, outputs].
template <class T>
struct Target {
  T *out;
  float *partial;
  int64_t outputs, parts, part_size;
  float sign, divisor;  // -1: minima as maxima of -x

  __device__ void store(int64_t part, int64_t output, float value) const {
    if (parts == 1) out[output] = from_float<T>(sign * value / divisor);
    else partial[part * outputs + output] = value;
  }
};

constexpr int kThreads = 256;
constexpr int64_t kPartElements = 16384;  // of a run reduced by one block
constexpr int64_t kPartRows = 128;        // of columns reduced by one block
constexpr int64_t kMostParts = 1024;

template <bool kExtreme>
__device__ float join_warp(float value) {
  for (int bits = 16; bits > 0; bits /= 2) value = join<kExtreme>(value, __shfl_xor_sync(kFullMask, value, bits));
  return value;
}

// x -> one value (=) for each output and part. kGroup threads (a warp or the block) an output and part, packs of 16 bytes dealt
// lane after lane, 256 threads a block, 32 B shared.
template <class T, int kGroup, bool kExtreme>
__global__ void __launch_bounds__(kThreads)
reduce_rows_kernel(const T *x, ReducePlan plan, Target<T> target, bool aligned) {
  __shared__ float shared[kThreads / 32];
  constexpr int kPack = kVectorWidth<T>, kGroups = kThreads / kGroup;
  const int lane = static_cast<int>(threadIdx.x) % kGroup, warp = static_cast<int>(threadIdx.x) / 32;
  const int64_t item = static_cast<int64_t>(blockIdx.x) * kGroups + threadIdx.x / kGroup;
  const int64_t output = item / target.parts, part = item % target.parts;
  const bool runs = plan.reduced_map.dims > 0;  // the elements lie in runs of `inner`
  float value = kExtreme ? -INFINITY : 0.0f;
  if (output < target.outputs) {
    const T *from = x + plan.kept_map.offset(static_cast<uint32_t>(output));
    const int64_t total = plan.reduced * plan.inner;
    const int64_t begin = part * target.part_size, end = min(begin + target.part_size, total);
#pragma unroll 4
    for (int64_t at = begin + lane * kPack; at < end; at += kGroup * kPack) {
      float v[kPack];
      if (!runs && at + kPack <= end) {
        load_values(from + at, aligned, v);
      } else {
#pragma unroll
        for (int i = 0; i < kPack; ++i) {
          if (at + i >= end) {
            v[i] = kExtreme ? -target.sign * INFINITY : 0.0f;
            continue;
          }
          const auto row = static_cast<uint32_t>(static_cast<uint64_t>(at + i) / static_cast<uint64_t>(plan.inner));
          v[i] = to_float(from[runs ? plan.reduced_map.offset(row) + (at + i - row * plan.inner) : at + i]);
        }
      }
#pragma unroll
      for (int i = 0; i < kPack; ++i) value = join<kExtreme>(value, kExtreme ? target.sign * v[i] : v[i]);
    }
  }
  value = join_warp<kExtreme>(value);
  if constexpr (kGroup > 32) {
    if (lane % 32 == 0) shared[warp] = value;
    __syncthreads();
    value = shared[0];
    for (int w = 1; w < kThreads / 32; ++w) value = join<kExtreme>(value, shared[w]);
  }
  if (lane == 0 && output < target.outputs) target.store(part, output, value);
}

constexpr int kLanes = 32, kSlices = kThreads / kLanes;

// x -> one value (=) for each output and part. A thread owns kPack neighbouring columns; the eight threads of a column take
// every eighth row of the part and are joined in order. 256 threads, 1 to 8 KiB shared.
template <class T, int kPack, bool kExtreme>
__global__ void __launch_bounds__(kThreads)
reduce_columns_kernel(const T *x, ReducePlan plan, Target<T> target, unsigned tiles, bool aligned) {
  __shared__ float shared[kSlices][kLanes * kPack];
  const int64_t part = blockIdx.x / tiles;
  const int64_t column = (static_cast<int64_t>(blockIdx.x % tiles) * kLanes + threadIdx.x) * kPack;
  float value[kPack];
#pragma unroll
  for (float &v : value) v = kExtreme ? -INFINITY : 0.0f;
  if (column < target.outputs) {
    const auto row = static_cast<uint32_t>(column / plan.inner);
    const T *from = x + plan.kept_map.offset(row) + (column - row * plan.inner);
    const int64_t begin = part * target.part_size, end = min(begin + target.part_size, plan.reduced);
#pragma unroll 4
    for (int64_t r = begin + threadIdx.y; r < end; r += kSlices) {
      float v[kPack];
      load_values(from + plan.reduced_map.offset(static_cast<uint32_t>(r)), aligned, v);
#pragma unroll
      for (int i = 0; i < kPack; ++i) value[i] = join<kExtreme>(value[i], kExtreme ? target.sign * v[i] : v[i]);
    }
  }
#pragma unroll
  for (int i = 0; i < kPack; ++i) shared[threadIdx.y][i * kLanes + threadIdx.x] = value[i];
  __syncthreads();
  if (threadIdx.y == 0 && column < target.outputs) {
#pragma unroll
    for (int i = 0; i < kPack; ++i) {
      float joined = value[i];
      for (int s = 1; s < kSlices; ++s) joined = join<kExtreme>(joined, shared[s][i * kLanes + threadIdx.x]);
      target.store(part, column + i, joined);
    }
  }
}

// x [n] (=) value; 256 threads a block.
template <class T>
__global__ void fill_kernel(T *x, int64_t n, float value) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i < n) x[i] = from_float<T>(value);
}

template <class T, bool kExtreme>
void launch_rows(LaunchCall &call, const ReducePlan &plan, const Target<T> &target) {
  const T *x = call.in(0).as<const T>();
  // Without separate runs every output and part begins at a multiple of this many elements.
  const bool aligned = aligned16(x) && plan.inner % kVectorWidth<T> == 0;
  const int64_t items = target.outputs * target.parts;
  if (plan.elements() <= 1024) {
    WM_LAUNCH((reduce_rows_kernel<T, 32, kExtreme>), dim3(blocks_for(items, kThreads / 32)), dim3(kThreads), 0,
              call.stream(), x, plan, target, aligned);
  } else {
    WM_LAUNCH((reduce_rows_kernel<T, kThreads, kExtreme>), dim3(blocks_for(items, 1)), dim3(kThreads), 0, call.stream(),
              x, plan, target, aligned);
  }
}

template <class T, bool kExtreme, int kPack>
void launch_columns(LaunchCall &call, const ReducePlan &plan, const Target<T> &target) {
  const T *x = call.in(0).as<const T>();
  const unsigned tiles = blocks_for(target.outputs, kLanes * kPack);
  WM_LAUNCH((reduce_columns_kernel<T, kPack, kExtreme>), dim3(blocks_for(tiles * target.parts, 1)),
            dim3(kLanes, kSlices), 0, call.stream(), x, plan, target, tiles, aligned16(x));
}

template <class T, bool kExtreme>
void reduce(LaunchCall &call, const ReducePlan &plan, Reduction how) {
  const int64_t length = plan.inner_reduced ? plan.elements() : plan.reduced;
  const int64_t least = plan.inner_reduced ? kPartElements : kPartRows;
  Target<T> target;
  target.out = call.out(0).as<T>();
  target.outputs = plan.outputs();
  // A multiple of the least size: parts of a row begin at aligned elements.
  target.part_size = least * std::max<int64_t>(1, (length + least * kMostParts - 1) / (least * kMostParts));
  target.parts = (length + target.part_size - 1) / target.part_size;
  target.sign = how == Reduction::min ? -1.0f : 1.0f;
  target.divisor = how == Reduction::mean ? static_cast<float>(plan.elements()) : 1.0f;
  target.partial = target.parts == 1 ? nullptr : call.workspace<float>(target.parts * target.outputs);
  constexpr int kPack = kVectorWidth<T>;
  if (plan.inner_reduced) launch_rows<T, kExtreme>(call, plan, target);
  else if (plan.inner % kPack == 0) launch_columns<T, kExtreme, kPack>(call, plan, target);
  else launch_columns<T, kExtreme, 1>(call, plan, target);
  if (target.parts > 1) {
    join_parts<T, kExtreme>(call, target.partial, target.parts, target.outputs, target.outputs,
                            target.sign * target.divisor, target.out);
  }
}

void reduce_any(LaunchCall &call, uint32_t mask, Reduction how) {
  const TensorView &x = call.in(0), &out = call.out(0);
  if (x.dtype != out.dtype) call.reject("dtypes differ");
  const int64_t size = out.numel();
  const bool extreme = how == Reduction::max || how == Reduction::min;
  dispatch_float(call, x.dtype, [&](auto zero) {
    using T = decltype(zero);
    if (x.numel() == 0) {
      if (size != 0 && extreme) call.reject("no elements to choose from");
      const float value = how == Reduction::sum ? 0.0f : NAN;
      WM_LAUNCH((fill_kernel<T>), dim3(blocks_for(size, kThreads)), dim3(kThreads), 0, call.stream(), out.as<T>(), size,
                value);
      return;
    }
    const ReducePlan plan = plan_reduction(call, x, mask);
    if (size != plan.outputs()) call.reject("output size does not fit the axes");
    if (extreme) reduce<T, true>(call, plan, how);
    else reduce<T, false>(call, plan, how);
  });
}

template <Reduction how>
void reduce_op(LaunchCall &call) {
  reduce_any(call, static_cast<uint32_t>(call.attr_int(0)), how);
}

void sum_to(LaunchCall &call) { reduce_any(call, read_sum_to(call), Reduction::sum); }

}  // namespace

WM_REGISTER_CUDA_OP(sum, reduce_op<Reduction::sum>, kContiguous)
WM_REGISTER_CUDA_OP(mean, reduce_op<Reduction::mean>, kContiguous)
WM_REGISTER_CUDA_OP(max, reduce_op<Reduction::max>, kContiguous)
WM_REGISTER_CUDA_OP(min, reduce_op<Reduction::min>, kContiguous)
WM_REGISTER_CUDA_OP(sum_to, sum_to, kContiguous)

}  // namespace wm::cuda
