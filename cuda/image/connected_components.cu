// connected_components, segment_stats, filter_small: regions of equal label in a label map (kernels.md P8), exact and
// the same on every run: a region's root is its smallest pixel whatever the order of the joins, and numbers follow the
// roots. Integer atomics alone.
// Floor: the map read and 4 bytes a pixel written; expected to be bound by the latency of the joins on noise, by memory
// on maps of large regions.
#include <climits>

#include "cuda/image/rows.cuh"

namespace wm::cuda {

namespace {

constexpr int kTileWidth = kWarp, kTileHeight = 16, kTileThreads = kTileWidth * kTileHeight;
constexpr int kScanThreads = 256, kChunk = 1024;  // pixels whose roots one block numbers

// A parent that others may lower meanwhile: any value it had is an ancestor, so an old one costs a step at most.
__device__ __forceinline__ int peek(const int *parent) {
#if defined(__CUDA_ARCH__)
  return *static_cast<const volatile int *>(parent);
#else
  return __atomic_load_n(parent, __ATOMIC_RELAXED);
#endif
}

__device__ __forceinline__ int find_root(const int *parent, int i) {
  int next = peek(parent + i);
  while (next != i) {
    i = next;
    next = peek(parent + i);
  }
  return i;
}

// Joins the sets of a and b under the smaller root. Where another thread was first, its root is joined as well.
__device__ __forceinline__ void join(int *parent, int a, int b) {
  for (;;) {
    a = find_root(parent, a);
    b = find_root(parent, b);
    if (a == b) return;
    const int high = max(a, b), low = min(a, b);
    const int old = atomicMin(parent + high, low);
    if (old == high) return;
    a = old;
    b = low;
  }
}

template <class T>
struct LabelMap {
  const T *label;
  int height, width;
  bool eight;
  bool leave_out;  // whether `nothing` is a label that forms no regions
  int nothing;

  __device__ int at(int y, int x) const { return static_cast<int>(__ldg(label + int64_t{y} * width + x)); }
  __device__ bool competes(int value) const { return !leave_out || value != nothing; }
  __device__ bool equal(int y, int x, int value) const {
    return y >= 0 && x >= 0 && x < width && at(y, x) == value;
  }
};

// parent [H, W] (=): the smallest pixel of the region within its tile, -1 for the label left out. A tile of 32 x 16
// pixels and 512 threads a block, a warp a row; 2 KB of shared memory.
template <class T>
__global__ void __launch_bounds__(kTileThreads)
    label_tiles_kernel(const LabelMap<T> map, int tiles_across, int *parent) {
  __shared__ int local[kTileThreads];
  const int id = static_cast<int>(threadIdx.x), lane = id % kWarp, row = id / kWarp;
  const int tile_row = static_cast<int>(blockIdx.x) / tiles_across;
  const int x0 = (static_cast<int>(blockIdx.x) - tile_row * tiles_across) * kTileWidth, y0 = tile_row * kTileHeight;
  const int x = x0 + lane, y = y0 + row;
  const bool inside = x < map.width && y < map.height;
  const int value = inside ? map.at(y, x) : 0;
  const bool active = inside && map.competes(value);
  // A run of equal labels along the row is one set from the start: its first pixel is everyone's parent.
  const int before = __shfl_up_sync(kFullMask, value, 1);
  const unsigned active_lanes = __ballot_sync(kFullMask, active);
  const bool left = active && lane > 0 && (active_lanes >> (lane - 1) & 1u) != 0 && before == value;
  const unsigned starts = __ballot_sync(kFullMask, !left) & (kFullMask >> (31 - lane));
  local[id] = row * kWarp + 31 - __clz(static_cast<int>(starts));
  __syncthreads();
  if (active && row > 0) {
    const bool up_left = lane > 0 && map.equal(y - 1, x - 1, value);
    if (map.equal(y - 1, x, value)) {
      if (!(left && up_left)) join(local, id, id - kWarp);  // the left neighbour joins the same two runs
    } else if (map.eight) {
      if (up_left && !left) join(local, id, id - kWarp - 1);
      if (lane + 1 < kWarp && map.equal(y - 1, x + 1, value)) join(local, id, id - kWarp + 1);
    }
  }
  __syncthreads();
  if (!inside) return;
  const int root = find_root(local, id);
  parent[y * map.width + x] = active ? (y0 + root / kWarp) * map.width + x0 + root % kWarp : -1;
}

// Joins across the edges of tiles, parent [H, W] (+=). A thread a pixel below a horizontal edge (the first `below`
// indices) or right of a vertical one.
template <class T>
__global__ void __launch_bounds__(256) join_tiles_kernel(const LabelMap<T> map, int64_t below, int64_t right, int *parent) {
  const int64_t index = grid_index();
  if (index >= below + right) return;
  const bool horizontal = index < below;
  const int64_t span = horizontal ? map.width : map.height, item = horizontal ? index : index - below;
  const auto edge = static_cast<int>(quotient(item, span)), along = static_cast<int>(item - edge * span);
  const int y = horizontal ? (edge + 1) * kTileHeight : along, x = horizontal ? along : (edge + 1) * kTileWidth;
  const int value = map.at(y, x), here = y * map.width + x;
  const bool active = map.competes(value);
  if (horizontal) {
    if (!active) return;
    if (map.equal(y - 1, x, value)) {
      const bool same_runs = x % kTileWidth != 0 && map.equal(y, x - 1, value) && map.equal(y - 1, x - 1, value);
      if (!same_runs) join(parent, here, here - map.width);
    } else if (map.eight) {
      if (map.equal(y - 1, x - 1, value)) join(parent, here, here - map.width - 1);
      if (map.equal(y - 1, x + 1, value)) join(parent, here, here - map.width + 1);
    }
    return;
  }
  if (active && map.equal(y, x - 1, value)) join(parent, here, here - 1);
  if (!map.eight || y == 0) return;
  if (active && map.equal(y - 1, x - 1, value)) join(parent, here, here - map.width - 1);
  const int beside = map.at(y, x - 1);  // the other diagonal of the corner
  if (map.competes(beside) && map.equal(y - 1, x, beside)) join(parent, here - 1, here - map.width);
}

// out [pixels] (=) the root of every pixel, counts [chunks] (=) roots of each 1024 pixels. 256 threads a block.
__global__ void __launch_bounds__(kScanThreads)
    find_roots_kernel(const int *parent, int64_t pixels, int *out, int *counts) {
  int count = 0;
  for (int k = 0; k < kChunk; k += kScanThreads) {
    const int64_t i = int64_t{blockIdx.x} * kChunk + k + threadIdx.x;
    int root = -1;
    if (i < pixels && parent[i] >= 0) root = find_root(parent, static_cast<int>(i));
    if (i < pixels) out[i] = root;
    count += __syncthreads_count(root >= 0 && root == i);
  }
  if (threadIdx.x == 0) counts[blockIdx.x] = count;
}

// Sum over the threads before this one; `total` is that of all 256. `shared` holds 8.
__device__ __forceinline__ int scan_block(int value, int *shared, int &total) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  int sum = value;
#pragma unroll
  for (int step = 1; step < kWarp; step *= 2) {
    const int other = __shfl_up_sync(kFullMask, sum, static_cast<unsigned>(step));
    if (lane >= step) sum += other;
  }
  if (lane == kWarp - 1) shared[warp] = sum;
  __syncthreads();
  int before = 0;
  total = 0;
#pragma unroll
  for (int w = 0; w < kScanThreads / kWarp; ++w) {
    if (w < warp) before += shared[w];
    total += shared[w];
  }
  __syncthreads();
  return before + sum - value;
}

// counts [chunks] become the roots before each chunk; total [1] (=). One block of 256 threads.
__global__ void __launch_bounds__(kScanThreads) scan_chunks_kernel(int *counts, int64_t chunks, int *total) {
  __shared__ int shared[kScanThreads / kWarp];
  int carried = 0;
  for (int64_t first = 0; first < chunks; first += kScanThreads) {
    const int64_t k = first + threadIdx.x;
    int sum;
    const int before = scan_block(k < chunks ? counts[k] : 0, shared, sum);
    if (k < chunks) counts[k] = carried + before;
    carried += sum;
  }
  if (threadIdx.x == 0) *total = carried;
}

// parent [pixels]: at every root (=) its number, 1 .. in the order of pixels. 256 threads a block, a chunk each.
__global__ void __launch_bounds__(kScanThreads)
    number_roots_kernel(const int *root, const int *before, int64_t pixels, int *parent) {
  __shared__ int shared[kScanThreads / kWarp];
  int carried = before[blockIdx.x];
  for (int k = 0; k < kChunk; k += kScanThreads) {
    const int64_t i = int64_t{blockIdx.x} * kChunk + k + threadIdx.x;
    const bool own = i < pixels && root[i] == i;
    int sum;
    const int number = carried + scan_block(own ? 1 : 0, shared, sum) + 1;
    if (own) parent[i] = number;
    carried += sum;
  }
}

// out [pixels]: a root becomes its number, -1 becomes 0.
__global__ void __launch_bounds__(256) number_pixels_kernel(const int *number, int64_t pixels, int *out) {
  const int64_t i = grid_index();
  if (i >= pixels) return;
  const int root = out[i];
  out[i] = root < 0 ? 0 : number[root];
}

void check_map(const LaunchCall &call, const TensorView &map) {
  if ((map.dtype != DType::u8 && map.dtype != DType::i32) || map.ndim != 2) call.reject("the map must be u8 or i32 [H, W]");
  if (map.numel() >= INT_MAX) call.reject("the map must have fewer than 2^31 pixels");
}

template <class T>
void label_regions(LaunchCall &call, const LabelMap<T> &map, int *out, int *total) {
  const int64_t h = map.height, w = map.width, pixels = h * w;
  const int64_t across = ceil_div(w, kTileWidth), down = ceil_div(h, kTileHeight), chunks = ceil_div(pixels, kChunk);
  auto *parent = call.workspace<int>(pixels);
  auto *counts = call.workspace<int>(chunks);
  cudaStream_t stream = call.stream();
  const auto blocks = [&](int64_t n, int64_t each) { return dim3(blocks_for(n, each)); };
  WM_LAUNCH((label_tiles_kernel<T>), blocks(across * down, 1), dim3(kTileThreads), 0, stream, map,
            static_cast<int>(across), parent);
  const int64_t below = (down - 1) * w, right = (across - 1) * h;
  WM_LAUNCH((join_tiles_kernel<T>), blocks(below + right, 256), dim3(256), 0, stream, map, below, right, parent);
  WM_LAUNCH(find_roots_kernel, blocks(chunks, 1), dim3(kScanThreads), 0, stream, parent, pixels, out, counts);
  WM_LAUNCH(scan_chunks_kernel, dim3(1), dim3(kScanThreads), 0, stream, counts, chunks, total);
  WM_LAUNCH(number_roots_kernel, blocks(chunks, 1), dim3(kScanThreads), 0, stream, out, counts, pixels, parent);
  WM_LAUNCH(number_pixels_kernel, blocks(pixels, 256), dim3(256), 0, stream, parent, pixels, out);
}

// labels u8 | i32 [H, W]; attrs: connectivity (4 or 8), nothing (label left out, -1: none)
// -> components i32 [H, W], count i32 [1]
void connected_components(LaunchCall &call) {
  const TensorView &labels = call.in(0), &out = call.out(0), &total = call.out(1);
  check_map(call, labels);
  const int64_t connectivity = call.attr_int(0), nothing = call.attr_int(1);
  if (connectivity != 4 && connectivity != 8) call.reject("connectivity must be 4 or 8");
  if (out.dtype != DType::i32 || out.numel() != labels.numel() || total.dtype != DType::i32 || total.numel() != 1)
    call.reject("outputs must be i32 [H, W] and i32 [1]");
  if (labels.numel() == 0) return call.zero(total.data, sizeof(int));
  const int height = static_cast<int>(labels.dim(0)), width = static_cast<int>(labels.dim(1));
  const bool eight = connectivity == 8, leave_out = nothing >= 0 && nothing <= INT_MAX;
  const int left_out = leave_out ? static_cast<int>(nothing) : 0;
  if (labels.dtype == DType::u8) {
    label_regions<uint8_t>(call, {labels.as<const uint8_t>(), height, width, eight, leave_out, left_out},
                           out.as<int>(), total.as<int>());
  } else {
    label_regions<int>(call, {labels.as<const int>(), height, width, eight, leave_out, left_out}, out.as<int>(),
                       total.as<int>());
  }
}

}  // namespace

WM_REGISTER_CUDA_OP(connected_components, connected_components, kContiguous)

}  // namespace wm::cuda
