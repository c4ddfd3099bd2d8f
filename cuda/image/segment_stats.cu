// segment_stats and filter_small: areas and boxes of the regions of a component map, and the removal of small ones
// (kernels.md P8). Integer atomics, so the results do not depend on their order.
// Floor: 4 bytes a pixel read (filter_small: the labels read and written as well); expected to be bound by memory, by
// atomics on maps of tiny regions.
#include <climits>

#include "cuda/image/rows.cuh"

namespace wm::cuda {

namespace {

constexpr int kSegment = 1024;  // pixels of a row that one warp walks

// Measures of regions 1..n. While they are collected, a box is x0, y0, x1, y1.
struct Measures {
  int *area, *box, *first;
  int64_t n;
};

__global__ void __launch_bounds__(256) clear_measures_kernel(const Measures m) {
  const int64_t k = grid_index();
  if (k >= m.n) return;
  m.area[k] = 0;
  m.box[4 * k] = m.box[4 * k + 1] = m.first[k] = INT_MAX;
  m.box[4 * k + 2] = m.box[4 * k + 3] = -1;
}

// Pixels [x0, x1) of row y belong to region id; 0 is none.
__device__ __forceinline__ void add_run(const Measures &m, int id, int x0, int x1, int y, int row_start) {
  if (id == 0) return;
  const int64_t k = id - 1;
  atomicAdd(m.area + k, x1 - x0);
  atomicMin(m.box + 4 * k, x0);
  atomicMin(m.box + 4 * k + 1, y);
  atomicMax(m.box + 4 * k + 2, x1 - 1);
  atomicMax(m.box + 4 * k + 3, y);
  atomicMin(m.first + k, row_start + x0);
}

// map [H, W] -> measures (+=). A warp walks 1024 pixels of a row, 32 at a time, and keeps the run that is open at
// their end: one set of atomics a run. 256 threads a block, no shared memory.
__global__ void __launch_bounds__(256)
    collect_measures_kernel(const int *map, int64_t height, int64_t width, const Measures m) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t item = (int64_t{blockIdx.x} * blockDim.x + threadIdx.x) / kWarp;
  const int64_t segments = (width + kSegment - 1) / kSegment, y = quotient(item, segments);
  if (y >= height) return;  // the whole warp
  const auto begin = static_cast<int>((item - y * segments) * kSegment), row = static_cast<int>(y);
  const int end = static_cast<int>(min(width, int64_t{begin} + kSegment)), row_start = static_cast<int>(y * width);
  int open = 0, open_at = begin;  // region and first pixel of the open run
  for (int base = begin; base < end; base += kWarp) {
    const int x = base + lane;
    int id = x < end ? map[row_start + x] : 0;
    if (id < 0 || id > m.n) id = 0;
    const int before = __shfl_up_sync(kFullMask, id, 1);
    const unsigned heads = __ballot_sync(kFullMask, (lane == 0 ? open : before) != id);
    if (heads == 0) continue;
    // Every head closes the run before it: the open one, or the one that began at the head below.
    const unsigned lower = heads & ((1u << lane) - 1);
    if ((heads >> lane & 1u) != 0)
      add_run(m, lane == 0 ? open : before, lower == 0 ? open_at : base + 31 - __clz(static_cast<int>(lower)), x, row,
              row_start);
    open_at = base + 31 - __clz(static_cast<int>(heads));
    open = __shfl_sync(kFullMask, id, kWarp - 1);
  }
  if (lane == 0) add_run(m, open, open_at, end, row, row_start);
}

__global__ void __launch_bounds__(256) finish_measures_kernel(const Measures m) {
  const int64_t k = grid_index();
  if (k >= m.n) return;
  int *box = m.box + 4 * k;
  if (m.area[k] == 0) {
    box[0] = box[1] = box[2] = box[3] = 0;
    m.first[k] = -1;
    return;
  }
  box[2] -= box[0] - 1;
  box[3] -= box[1] - 1;
}

// components i32 [H, W]; attr: n -> area i32 [n], bbox i32 [n, 4] (x, y, width, height), first i32 [n] (index of the
// first pixel, -1 for a number that does not occur). Numbers outside 1..n are left out.
void segment_stats(LaunchCall &call) {
  const TensorView &map = call.in(0);
  const int64_t n = call.attr_int(0);
  if (map.dtype != DType::i32 || map.ndim != 2 || n < 0) call.reject("components must be i32 [H, W] and n at least 0");
  if (map.numel() >= INT_MAX) call.reject("the map must have fewer than 2^31 pixels");
  for (int k = 0; k < 3; ++k) {
    if (call.out(k).dtype != DType::i32 || call.out(k).numel() != n * (k == 1 ? 4 : 1))
      call.reject("output %d does not fit", k);
  }
  if (n == 0) return;
  const Measures m{call.out(0).as<int>(), call.out(1).as<int>(), call.out(2).as<int>(), n};
  const dim3 regions(blocks_for(n, 256));
  WM_LAUNCH(clear_measures_kernel, regions, dim3(256), 0, call.stream(), m);
  const int64_t warps = map.dim(0) * ceil_div(map.dim(1), kSegment);
  WM_LAUNCH(collect_measures_kernel, dim3(blocks_for(warps, 256 / kWarp)), dim3(256), 0,
            call.stream(), map.as<const int>(), map.dim(0), map.dim(1), m);
  WM_LAUNCH(finish_measures_kernel, regions, dim3(256), 0, call.stream(), m);
}

// labels, id [pixels] -> out (=): the replacement where the region has fewer than min_area pixels. 256 threads a block,
// kCount pixels a thread.
template <class T, int kCount>
__global__ void __launch_bounds__(256)
    filter_small_kernel(const T *labels, const int *id, const int *area, int64_t n, int64_t min_area, T replacement,
                        int64_t pixels, T *out) {
  const int64_t first = grid_index() * kCount;
  if (first >= pixels) return;
  auto label = *reinterpret_cast<const Vector<T, kCount> *>(labels + first);
  const auto region = *reinterpret_cast<const Vector<int, kCount> *>(id + first);
#pragma unroll
  for (int k = 0; k < kCount; ++k) {
    const int r = region.value[k];
    if (r >= 1 && r <= n && area[r - 1] < min_area) label.value[k] = replacement;
  }
  *reinterpret_cast<Vector<T, kCount> *>(out + first) = label;
}

template <class T>
void filter_pixels(const LaunchCall &call) {
  const TensorView &labels = call.in(0), &id = call.in(1), &area = call.in(2), &out = call.out(0);
  const int64_t pixels = labels.numel(), min_area = call.attr_int(0);
  const T replacement = static_cast<T>(call.attr_int(1));
  if (vector_aligned<T, 4>(labels.data, pixels) && vector_aligned<int, 4>(id.data, pixels) &&
      vector_aligned<T, 4>(out.data, pixels)) {
    WM_LAUNCH((filter_small_kernel<T, 4>), dim3(blocks_for(pixels, 1024)), dim3(256), 0,
              call.stream(), labels.as<const T>(), id.as<const int>(), area.as<const int>(), area.numel(), min_area,
              replacement, pixels, out.as<T>());
  } else {
    WM_LAUNCH((filter_small_kernel<T, 1>), dim3(blocks_for(pixels, 256)), dim3(256), 0,
              call.stream(), labels.as<const T>(), id.as<const int>(), area.as<const int>(), area.numel(), min_area,
              replacement, pixels, out.as<T>());
  }
}

// labels u8 | i32 [H, W], components i32 [H, W], area i32 [n]; attrs: minArea, replacement -> labels with the
// replacement where the component is smaller
void filter_small(LaunchCall &call) {
  const TensorView &labels = call.in(0), &components = call.in(1), &area = call.in(2), &out = call.out(0);
  if ((labels.dtype != DType::u8 && labels.dtype != DType::i32) || components.dtype != DType::i32 ||
      components.numel() != labels.numel() || area.dtype != DType::i32 || out.dtype != labels.dtype ||
      out.numel() != labels.numel()) {
    call.reject("labels must be u8 or i32, components and area i32 and fit them");
  }
  if (labels.dtype == DType::u8) return filter_pixels<uint8_t>(call);
  filter_pixels<int>(call);
}

}  // namespace

WM_REGISTER_CUDA_OP(segment_stats, segment_stats, kContiguous)
WM_REGISTER_CUDA_OP(filter_small, filter_small, kContiguous)

}  // namespace wm::cuda
