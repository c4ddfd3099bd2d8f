// Stable sort of keys with 32-bit values on the device, by 8 bits a pass from the lowest: counts of every tile, a scan of
// the counts, and a scatter that keeps the order of equal digits. Integer arithmetic alone, and every element's place
// follows from the input, so the result is the same on every run. No reads of the host in between.
#pragma once

#include <cstdint>
#include <utility>

#include "cuda/core/op.h"

namespace wm::cuda {

constexpr int kSortThreads = 256;
constexpr int kSortWarps = kSortThreads / kWarp;
constexpr int kSortDigits = 256;

// Elements a block works on. Fewer of wide keys, so that the tile's staging stays within 48 KiB of shared memory.
template <class Key>
constexpr int kSortItems = sizeof(Key) > 8 ? 4 : 8;
template <class Key>
constexpr int kSortTile = kSortThreads * kSortItems<Key>;

// Sum of the values of this and lower lanes.
__device__ __forceinline__ uint32_t warp_inclusive_scan(uint32_t sum, int lane) {
#pragma unroll
  for (int step = 1; step < kWarp; step *= 2) {
    const uint32_t lower = __shfl_up_sync(kFullMask, sum, static_cast<unsigned>(step));
    if (lane >= step) sum += lower;
  }
  return sum;
}

// Sum of the values of lower threads of a block of kSortThreads; `total` is the block's. shared: kSortWarps words,
// reusable when all threads have passed the next barrier.
__device__ __forceinline__ uint32_t block_exclusive_scan(uint32_t value, uint32_t *shared, uint32_t *total) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  const uint32_t sum = warp_inclusive_scan(value, lane);
  if (lane == kWarp - 1) shared[warp] = sum;
  __syncthreads();
  uint32_t before = 0, all = 0;
#pragma unroll
  for (int w = 0; w < kSortWarps; ++w) {
    if (w < warp) before += shared[w];
    all += shared[w];
  }
  *total = all;
  return before + sum - value;
}

namespace {

template <class Key>
__device__ __forceinline__ int digit_of(Key key, int shift) {
  return static_cast<int>(static_cast<uint32_t>(key >> shift) & 255u);
}

// counts [256, tiles] (=): elements of each digit. 256 threads a block, 1 KiB of shared memory, one tile a block.
template <class Key>
__global__ void sort_count_kernel(const Key *keys, int64_t n, int shift, uint32_t *counts, int tiles) {
  __shared__ uint32_t histogram[kSortDigits];
  const int thread = static_cast<int>(threadIdx.x);
  histogram[thread] = 0;
  __syncthreads();
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kSortTile<Key>;
  for (int item = 0; item < kSortItems<Key>; ++item) {
    const int64_t i = first + item * kSortThreads + thread;
    if (i < n) atomicAdd(&histogram[digit_of(keys[i], shift)], 1u);
  }
  __syncthreads();
  counts[static_cast<int64_t>(thread) * tiles + blockIdx.x] = histogram[thread];
}

// Each row of counts [rows, columns] becomes (=) the sums of the counts before; totals [rows] (=). One warp a row, eight
// warps a block, four counts a lane at a time, no shared memory.
__global__ void scan_rows_kernel(uint32_t *counts, uint32_t *totals, int rows, int columns) {
  constexpr int kItems = 4;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int row = static_cast<int>(blockIdx.x) * kSortWarps + static_cast<int>(threadIdx.x) / kWarp;
  if (row >= rows) return;
  uint32_t *own = counts + static_cast<int64_t>(row) * columns;
  uint32_t carry = 0;
  for (int first = 0; first < columns; first += kWarp * kItems) {
    uint32_t count[kItems], sum = 0;
#pragma unroll
    for (int item = 0; item < kItems; ++item) {
      const int i = first + lane * kItems + item;
      count[item] = i < columns ? own[i] : 0u;
      sum += count[item];
    }
    const uint32_t through = warp_inclusive_scan(sum, lane);
    uint32_t before = carry + through - sum;
#pragma unroll
    for (int item = 0; item < kItems; ++item) {
      const int i = first + lane * kItems + item;
      if (i < columns) own[i] = before;
      before += count[item];
    }
    carry += __shfl_sync(kFullMask, through, kWarp - 1);
  }
  if (lane == 0) totals[row] = carry;
}

// The same for few columns: one thread a row.
constexpr int kShortRow = 8;
__global__ void scan_short_rows_kernel(uint32_t *counts, uint32_t *totals, int rows, int columns) {
  const int row = static_cast<int>(blockIdx.x) * kSortThreads + static_cast<int>(threadIdx.x);
  if (row >= rows) return;
  uint32_t before = 0;
  for (int i = 0; i < columns; ++i) {
    uint32_t *count = counts + static_cast<int64_t>(row) * columns + i;
    const uint32_t own = *count;
    *count = before;
    before += own;
  }
  totals[row] = before;
}

// keys_out, values_out [n] (=): the elements in the order of the digit, equal ones in their old order. values null: the
// value of an element is its index. One block of 256 threads a tile; a warp ranks its run of the tile by votes, and the
// sorted tile is staged in shared memory (34 KiB, 36 KiB for wide keys) so that runs of one digit are written together.
template <class Key>
__global__ void __launch_bounds__(kSortThreads)
    sort_scatter_kernel(const Key *keys, const uint32_t *values, int64_t n, int shift, const uint32_t *counts,
                        const uint32_t *totals, int tiles, Key *keys_out, uint32_t *values_out) {
  constexpr int kItems = kSortItems<Key>;
  __shared__ uint32_t warp_count[kSortWarps][kSortDigits];
  __shared__ uint32_t local_start[kSortDigits], global_start[kSortDigits];
  __shared__ uint32_t sums[2][kSortWarps];
  __shared__ Key staged_key[kSortTile<Key>];
  __shared__ uint32_t staged_value[kSortTile<Key>];
  const int thread = static_cast<int>(threadIdx.x), lane = thread % kWarp, warp = thread / kWarp;
  for (int w = 0; w < kSortWarps; ++w) warp_count[w][thread] = 0;
  __syncthreads();

  const int64_t tile_first = static_cast<int64_t>(blockIdx.x) * kSortTile<Key>;
  const int valid = static_cast<int>(min(n - tile_first, static_cast<int64_t>(kSortTile<Key>)));
  Key key[kItems];
  uint32_t rank[kItems];
#pragma unroll
  for (int item = 0; item < kItems; ++item) {
    const int first = (warp * kItems + item) * kWarp, i = first + lane;
    if (first >= valid) break;  // the whole warp
    // Elements past the end take the last digit: being last in the tile, they rank behind all others.
    key[item] = i < valid ? keys[tile_first + i] : ~static_cast<Key>(0);
    const int digit = i < valid ? digit_of(key[item], shift) : kSortDigits - 1;
    unsigned same = kFullMask;
#pragma unroll
    for (int bit = 0; bit < 8; ++bit) {
      const unsigned set = __ballot_sync(kFullMask, digit >> bit & 1);
      same &= (digit >> bit & 1) != 0 ? set : ~set;
    }
    rank[item] = warp_count[warp][digit] + static_cast<uint32_t>(__popc(same & ((1u << lane) - 1u)));
    __syncwarp(kFullMask);
    if (lane == __ffs(static_cast<int>(same)) - 1) warp_count[warp][digit] += static_cast<uint32_t>(__popc(same));
    __syncwarp(kFullMask);
  }
  __syncthreads();

  // Thread t looks after digit t.
  uint32_t in_tile = 0, total;
  for (int w = 0; w < kSortWarps; ++w) {
    const uint32_t count = warp_count[w][thread];
    warp_count[w][thread] = in_tile;
    in_tile += count;
  }
  const uint32_t start = block_exclusive_scan(in_tile, sums[0], &total);
  const uint32_t base = block_exclusive_scan(totals[thread], sums[1], &total);
  local_start[thread] = start;
  global_start[thread] = base + counts[static_cast<int64_t>(thread) * tiles + blockIdx.x] - start;  // modulo 2^32
  __syncthreads();

#pragma unroll
  for (int item = 0; item < kItems; ++item) {
    const int i = (warp * kItems + item) * kWarp + lane;
    if (i >= valid) break;
    const int digit = digit_of(key[item], shift);
    const uint32_t place = local_start[digit] + warp_count[warp][digit] + rank[item];
    staged_key[place] = key[item];
    staged_value[place] = values == nullptr ? static_cast<uint32_t>(tile_first + i) : values[tile_first + i];
  }
  __syncthreads();
  for (int i = thread; i < valid; i += kSortThreads) {
    const Key sorted = staged_key[i];
    const uint32_t to = global_start[digit_of(sorted, shift)] + static_cast<uint32_t>(i);
    keys_out[to] = sorted;
    values_out[to] = staged_value[i];
  }
}

}  // namespace

inline void scan_rows(LaunchCall &call, uint32_t *counts, uint32_t *totals, int rows, int columns) {
  const dim3 block(kSortThreads);
  if (columns <= kShortRow) {
    WM_LAUNCH(scan_short_rows_kernel, dim3(blocks_for(rows, kSortThreads)), block, 0, call.stream(), counts, totals, rows,
              columns);
  } else {
    WM_LAUNCH(scan_rows_kernel, dim3(blocks_for(rows, kSortWarps)), block, 0, call.stream(), counts, totals, rows, columns);
  }
}

// Memory of a sort of up to n elements; any sort of fewer may use it.
template <class Key>
struct SortBuffers {
  Key *keys[2];
  uint32_t *values[2];
  uint32_t *counts, *totals;

  static int tiles(int64_t n) { return static_cast<int>((n + kSortTile<Key> - 1) / kSortTile<Key>); }

  SortBuffers(LaunchCall &call, int64_t n) {
    for (int side = 0; side < 2; ++side) {
      keys[side] = call.workspace<Key>(n);
      values[side] = call.workspace<uint32_t>(n);
    }
    counts = call.workspace<uint32_t>(static_cast<int64_t>(tiles(n)) * kSortDigits);
    totals = call.workspace<uint32_t>(kSortDigits);
  }
};

// Sorts keys[0] by its lowest `bits` bits; values become the old indices. Returns the side that holds the result. n
// fits 32 bits.
template <class Key>
int sort_keys(LaunchCall &call, SortBuffers<Key> &buffers, int64_t n, int bits) {
  const int tiles = SortBuffers<Key>::tiles(n);
  const dim3 grid(static_cast<unsigned>(tiles)), block(kSortThreads);
  int from = 0;
  for (int shift = 0; shift < bits; shift += 8) {
    const int to = 1 - from;
    const uint32_t *values = shift == 0 ? nullptr : buffers.values[from];
    WM_LAUNCH((sort_count_kernel<Key>), grid, block, 0, call.stream(), buffers.keys[from], n, shift, buffers.counts, tiles);
    scan_rows(call, buffers.counts, buffers.totals, kSortDigits, tiles);
    WM_LAUNCH((sort_scatter_kernel<Key>), grid, block, 0, call.stream(), buffers.keys[from], values, n, shift,
              buffers.counts, buffers.totals, tiles, buffers.keys[to], buffers.values[to]);
    from = to;
  }
  return from;
}

}  // namespace wm::cuda
