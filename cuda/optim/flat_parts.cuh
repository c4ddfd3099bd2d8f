// A flat f32 buffer and the tensors whose elements it holds one after another (native/cpu/optim/flat_parts.h). Each
// tensor of an op's variadic tail stands for the next sizes[i] elements; where one was not given, its part stays as it
// is. The sizes lie on the device, so a kernel adds them up; what does not fit is refused and left alone.
#pragma once

#include "cuda/core/segments.cuh"
#include "cuda/core/strided.cuh"
#include <vector>

namespace wm::cuda {

struct FlatPart {
  const float *data;
  int64_t count;
  int32_t number;  // among the sizes
  int32_t first;
};
using FlatTable = Segments<FlatPart, 128>;

constexpr int kFlatThreads = 256;
constexpr int kFlatUnits = 2;                                 // vectors of four a thread
constexpr int kFlatChunk = kFlatThreads * kFlatUnits * 4;     // elements a block

// What is wrong with a size, in the order of the CPU's checks at one position.
enum FlatRefusal : int { kSizeBeyond = 0, kSizeOfPart = 1, kSizesShort = 2 };

// sizes [count] -> begins [count + 1] (=): where each part begins, and the sum; n elements are there. One warp; no shared
// memory.
static __global__ void flat_begins_kernel(const int32_t *sizes, int64_t *begins, int64_t count, int64_t n, Refusal refusal) {
  const int lane = static_cast<int>(threadIdx.x);
  int64_t before = 0;
  for (int64_t base = 0; base < count; base += kWarp) {
    const int64_t i = base + lane;
    const int64_t size = i < count ? sizes[i] : 0;
    int64_t through = size;
    for (int step = 1; step < kWarp; step *= 2) {
      const int64_t other = __shfl_up_sync(kFullMask, through, static_cast<unsigned>(step));
      if (lane >= step) through += other;
    }
    if (i < count) begins[i] = before + through - size;
    if (i < count && (size < 0 || before + through > n)) refusal.at(i, kSizeBeyond, static_cast<int>(size));
    before += __shfl_sync(kFullMask, through, kWarp - 1);
  }
  if (lane != 0) return;
  begins[count] = before;
  if (before != n) refusal.at(count, kSizesShort, 0);
}

// update.at<V>(x, i): elements i .. i + V - 1 of the flat buffer with the sources x[0 .. V-1]; V = 4 needs
// update.aligned and aligned positions. 256 threads a block, kFlatChunk elements of one part; no shared memory.
template <class Update>
__global__ void __launch_bounds__(kFlatThreads, 4)
flat_kernel(Update update, FlatTable table, const int64_t *begins, int64_t n, Refusal refusal) {
  const FlatPart &part = table.find(static_cast<int32_t>(blockIdx.x));
  const int64_t begin = begins[part.number], count = part.count;
  if (begins[part.number + 1] - begin != count) {
    if (threadIdx.x == 0) refusal.at(part.number, kSizeOfPart, static_cast<int>(begins[part.number + 1] - begin));
    return;
  }
  if (begin < 0 || begin > n - count) return;
  const int64_t chunk = (static_cast<int64_t>(blockIdx.x) - part.first) * kFlatChunk;
  const float *x = part.data;
  if (update.aligned && begin % 4 == 0 && reinterpret_cast<uintptr_t>(x) % 16 == 0) {
#pragma unroll
    for (int u = 0; u < kFlatUnits; ++u) {
      int64_t i = chunk + (static_cast<int64_t>(u) * kFlatThreads + threadIdx.x) * 4;
      if (i + 4 <= count) {
        update.template at<4>(x + i, begin + i);
      } else {
        for (; i < count; ++i) update.template at<1>(x + i, begin + i);
      }
    }
  } else {
#pragma unroll
    for (int u = 0; u < kFlatUnits * 4; ++u) {
      const int64_t i = chunk + static_cast<int64_t>(u) * kFlatThreads + threadIdx.x;
      if (i < count) update.template at<1>(x + i, begin + i);
    }
  }
}

inline void check_flat(const LaunchCall &call, const TensorView &flat) {
  if (flat.dtype == DType::f32) return;
  call.reject("takes f32 buffers on this device, got %s; f64 works on the cpu", dtype_name(flat.dtype));
}

// How a refused size reads; `parts` holds the elements of each tensor.
inline Refusal refuse_sizes(LaunchCall &call, std::vector<int64_t> parts) {
  return call.refuses_values([parts = std::move(parts)](const RefusedValue &seen) {
    if (seen.value[0] == kSizeBeyond) return refused_size_beyond();
    if (seen.value[0] == kSizesShort) return refused_size_short();
    const char *dtype = dtype_name(DType::f32);
    return refused_size(seen.position, seen.value[1], dtype, parts.at(static_cast<size_t>(seen.position)), dtype);
  });
}

// Runs the update over all parts given; `first` is the number of the first source.
template <class Update>
void for_parts(LaunchCall &call, const Update &update, int sizes_input, int first) {
  const TensorView &sizes = call.in(sizes_input), &flat = call.in(0);
  const int parts = call.num_inputs() - first;
  if (sizes.dtype != DType::i32 || sizes.numel() < parts) call.reject("needs one i32 size a tensor");
  std::vector<int64_t> elements;
  for (int i = 0; i < parts; ++i) elements.push_back(call.has(first + i) ? call.in(first + i).numel() : 0);
  const Refusal refusal = refuse_sizes(call, std::move(elements));
  int64_t *begins = call.workspace<int64_t>(sizes.numel() + 1);
  WM_LAUNCH(flat_begins_kernel, dim3(1), dim3(kWarp), 0, call.stream(), sizes.as<const int32_t>(), begins, sizes.numel(),
            flat.numel(), refusal);
  const auto launch_table = [&](const FlatTable &table) {
    WM_LAUNCH((flat_kernel<Update>), dim3(static_cast<unsigned>(table.blocks)), dim3(kFlatThreads), 0, call.stream(),
              update, table, begins, flat.numel(), refusal);
  };
  FlatTable table;
  for (int i = 0; i < parts; ++i) {
    if (!call.has(first + i)) continue;
    const TensorView &part = call.in(first + i);
    if (part.dtype != flat.dtype) call.reject("tensor %d must be f32, is %s", i, dtype_name(part.dtype));
    // One of no elements has a block too, which looks at its size.
    const int64_t blocks = part.numel() > 0 ? ceil_div(part.numel(), kFlatChunk) : 1;
    add_or_launch(call, table, FlatPart{part.as<const float>(), part.numel(), i, 0}, blocks, launch_table);
  }
  launch_table(table);
}

}  // namespace wm::cuda
