// Positions of an index list by the row they name, each row's in ascending order: a least-significant-digit radix sort,
// eight bits a pass. Every pass is stable and counts in a fixed order, so the result is one and the same on any device.
#pragma once

#include <utility>

#include "cuda/core/strided.cuh"

namespace wm::cuda {

struct SortedIndices {
  const int32_t *order;        // positions, row by row; positions of rows out of range come last
  const int32_t *begin, *end;  // [rows]: where each row's positions stand in `order`
};

constexpr int kSortThreads = 256;
constexpr int kSortBins = 256;
constexpr int kSortWarps = kSortThreads / kWarp;
constexpr int kSortRounds = 8;                               // elements a thread
constexpr int kSortTile = kSortThreads * kSortRounds;        // elements a block: each warp a stretch of 256

// Element number `round` of the thread within its block's tile: neighbouring lanes hold neighbouring elements.
__device__ inline int64_t sort_place(int round) {
  const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp;
  return static_cast<int64_t>(blockIdx.x) * kSortTile + warp * (kWarp * kSortRounds) + round * kWarp + lane;
}

// index [count] -> keys, order [count] (=): rows, out of range replaced by `rows`, and positions. 256 threads a block.
static __global__ void __launch_bounds__(kSortThreads)
sort_begin_kernel(const int32_t *index, int32_t *keys, int32_t *order, int64_t count, int64_t rows) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kSortThreads + threadIdx.x;
  if (i >= count) return;
  const int32_t row = index[i];
  keys[i] = row >= 0 && row < rows ? row : static_cast<int32_t>(rows);
  order[i] = static_cast<int32_t>(i);
}

// keys [count] -> counts [bins, blocks] (=): of each digit in each block's tile. 256 threads, a tile of 2048 a block;
// shared memory: the counts.
static __global__ void __launch_bounds__(kSortThreads)
sort_count_kernel(const int32_t *keys, int32_t *counts, int64_t count, int shift) {
  __shared__ int bins[kSortBins];
  bins[threadIdx.x] = 0;
  __syncthreads();
  for (int round = 0; round < kSortRounds; ++round) {
    const int64_t i = sort_place(round);
    if (i < count) atomicAdd(&bins[keys[i] >> shift & (kSortBins - 1)], 1);
  }
  __syncthreads();
  counts[static_cast<int64_t>(threadIdx.x) * gridDim.x + blockIdx.x] = bins[threadIdx.x];
}

// x [n] becomes the sum of what stands before each element. One block of 256 threads; shared memory: an int a warp.
static __global__ void __launch_bounds__(kSortThreads) sort_scan_kernel(int32_t *x, int64_t n) {
  __shared__ int32_t sums[kSortWarps];
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  int32_t before = 0;
  for (int64_t base = 0; base < n; base += kSortThreads) {
    const int64_t i = base + threadIdx.x;
    const int32_t own = i < n ? x[i] : 0;
    int32_t through = own;
    for (int step = 1; step < kWarp; step *= 2) {
      const int32_t other = __shfl_up_sync(kFullMask, through, static_cast<unsigned>(step));
      if (lane >= step) through += other;
    }
    if (lane == kWarp - 1) sums[warp] = through;
    __syncthreads();
    int32_t all = 0;
    for (int w = 0; w < kSortWarps; ++w) {
      if (w < warp) through += sums[w];
      all += sums[w];
    }
    if (i < n) x[i] = before + through - own;
    before += all;
    __syncthreads();
  }
}

// Lanes of the warp whose digit is this lane's, among `active`.
__device__ inline unsigned same_digit(unsigned active, int digit) {
  unsigned same = active;
  for (int bit = 1; bit < kSortBins; bit *= 2) {
    const unsigned set = __ballot_sync(kFullMask, (digit & bit) != 0);
    same &= (digit & bit) != 0 ? set : ~set;
  }
  return same;
}

// keys, order [count] -> sorted by one digit (=), by starts [bins, blocks] of each digit in each block. 256 threads, a
// tile of 2048 a block; shared memory: a count a digit and warp (8 KiB).
static __global__ void __launch_bounds__(kSortThreads)
sort_move_kernel(const int32_t *keys, const int32_t *order, int32_t *new_keys, int32_t *new_order,
                 const int32_t *starts, int64_t count, int shift) {
  __shared__ int counts[kSortWarps][kSortBins];
  const int thread = static_cast<int>(threadIdx.x), warp = thread / kWarp, lane = thread % kWarp;
  for (int w = 0; w < kSortWarps; ++w) counts[w][thread] = 0;
  __syncthreads();
  int32_t key[kSortRounds];
  int rank[kSortRounds];  // among the warp's elements of the same digit
#pragma unroll
  for (int round = 0; round < kSortRounds; ++round) {
    const int64_t i = sort_place(round);
    key[round] = i < count ? keys[i] : 0;
    const unsigned active = __ballot_sync(kFullMask, i < count);
    const int digit = key[round] >> shift & (kSortBins - 1);
    const unsigned same = same_digit(active, digit);
    const int before = i < count ? counts[warp][digit] : 0;
    rank[round] = before + __popc(same & ((1u << lane) - 1));
    __syncwarp(kFullMask);
    if (i < count && lane == __ffs(static_cast<int>(same)) - 1) counts[warp][digit] = before + __popc(same);
    __syncwarp(kFullMask);
  }
  __syncthreads();
  // Where the warp's elements of each digit begin.
  int32_t next = starts[static_cast<int64_t>(thread) * gridDim.x + blockIdx.x];
  for (int w = 0; w < kSortWarps; ++w) {
    const int own = counts[w][thread];
    counts[w][thread] = next;
    next += own;
  }
  __syncthreads();
#pragma unroll
  for (int round = 0; round < kSortRounds; ++round) {
    const int64_t i = sort_place(round);
    if (i >= count) continue;
    const int32_t at = counts[warp][key[round] >> shift & (kSortBins - 1)] + rank[round];
    new_keys[at] = key[round];
    new_order[at] = order[i];
  }
}

// Sorted keys [count] -> begin, end [rows] (=, zero where a row has no position). 256 threads a block.
static __global__ void __launch_bounds__(kSortThreads)
sort_rows_kernel(const int32_t *keys, int32_t *begin, int32_t *end, int64_t count, int64_t rows) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kSortThreads + threadIdx.x;
  if (i >= count || keys[i] >= rows) return;
  if (i == 0 || keys[i - 1] != keys[i]) begin[keys[i]] = static_cast<int32_t>(i);
  if (i == count - 1 || keys[i + 1] != keys[i]) end[keys[i]] = static_cast<int32_t>(i + 1);
}

// Queues the sort; the result lies in the call's workspace.
inline SortedIndices sort_indices(LaunchCall &call, const int32_t *index, int64_t count, int64_t rows) {
  if (count > INT32_MAX - kSortTile || rows >= INT32_MAX) call.reject("%lld indices of %lld rows are too many", static_cast<long long>(count), static_cast<long long>(rows));
  int32_t *memory = call.workspace<int32_t>(4 * count + 2 * rows);
  int32_t *keys = memory, *order = keys + count, *new_keys = order + count, *new_order = new_keys + count;
  int32_t *begin = new_order + count, *end = begin + rows;
  call.zero(begin, 2 * static_cast<uint64_t>(rows) * sizeof(int32_t));
  const dim3 threads(kSortThreads), each(blocks_for(count, kSortThreads)), tiles(blocks_for(count, kSortTile));
  const int64_t bins = static_cast<int64_t>(kSortBins) * tiles.x;
  int32_t *counts = call.workspace<int32_t>(bins);
  WM_LAUNCH(sort_begin_kernel, each, threads, 0, call.stream(), index, keys, order, count, rows);
  for (int shift = 0; shift < 31 && (rows >> shift) > 0; shift += 8) {
    if (count == 0) break;
    WM_LAUNCH(sort_count_kernel, tiles, threads, 0, call.stream(), keys, counts, count, shift);
    WM_LAUNCH(sort_scan_kernel, dim3(1), threads, 0, call.stream(), counts, bins);
    WM_LAUNCH(sort_move_kernel, tiles, threads, 0, call.stream(), keys, order, new_keys, new_order, counts, count, shift);
    std::swap(keys, new_keys);
    std::swap(order, new_order);
  }
  WM_LAUNCH(sort_rows_kernel, each, threads, 0, call.stream(), keys, begin, end, count, rows);
  return {order, begin, end};
}

}  // namespace wm::cuda
