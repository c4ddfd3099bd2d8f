// y = the inputs one behind the other along an axis; any dtype. Attribute: axis. All inputs in one launch.
// Floor: the inputs and the output once at the memory's bandwidth, also the expected limiter where rows are multiples of
// 16 bytes; narrower rows move in narrower words.
#include "cuda/core/segments.cuh"
#include "cuda/core/words.cuh"
#include "native/core/shape_checks.h"

namespace wm::cuda {

namespace {

struct Part {
  const void *data;
  int64_t words;   // in all
  int64_t offset;  // in an output row, in words
  Divisor row;     // words of a row of this input
  int32_t first;
};
using Parts = Segments<Part, 64>;  // 3.5 KiB

constexpr int kUnits = 4;  // words a thread

// y [outer, pitch] (=) from parts [outer, row]. 256 threads a block, 1024 words of one part; no shared memory.
template <class Word>
__global__ void __launch_bounds__(kMapThreads) concat_kernel(Parts parts, Word *y, int64_t pitch) {
  const Part &part = parts.find(static_cast<int32_t>(blockIdx.x));
  const Word *x = static_cast<const Word *>(part.data);
  const int64_t begin = (static_cast<int64_t>(blockIdx.x) - part.first) * (kMapThreads * kUnits) + threadIdx.x;
  Word words[kUnits];
#pragma unroll
  for (int u = 0; u < kUnits; ++u) {
    if (begin + u * kMapThreads < part.words) words[u] = x[begin + u * kMapThreads];
  }
#pragma unroll
  for (int u = 0; u < kUnits; ++u) {
    int64_t row = begin + u * kMapThreads;
    if (row >= part.words) break;
    const int64_t column = part.row.split(row);
    y[row * pitch + part.offset + column] = words[u];
  }
}

// The common measure of all rows and addresses, in bytes.
int64_t measure(const LaunchCall &call, const ConcatPlan &plan) {
  int64_t all = address_of(call.out(0).data);
  for (int i = 0; i < call.num_inputs() && call.has(i); ++i) {
    all |= address_of(call.in(i).data) | plan.row_bytes(call.in(i));
  }
  return all;
}

void concat(LaunchCall &call) {
  const TensorView &out = call.out(0);
  const ConcatPlan plan = read_concat(call);
  dispatch_word({measure(call, plan)}, [&](auto zero) {
    using Word = decltype(zero);
    constexpr auto kBytes = static_cast<int64_t>(sizeof(Word));
    const auto launch_parts = [&](const Parts &parts) {
      WM_LAUNCH((concat_kernel<Word>), dim3(static_cast<unsigned>(parts.blocks)), dim3(kMapThreads), 0, call.stream(),
                parts, out.as<Word>(), plan.pitch / kBytes);
    };
    Parts parts;
    int64_t offset = 0;
    for (int i = 0; i < call.num_inputs() && call.has(i); ++i) {
      const TensorView &in = call.in(i);
      const int64_t row = plan.row_bytes(in), words = plan.outer * row / kBytes;
      if (words > 0) {
        add_or_launch(call, parts, Part{in.data, words, offset / kBytes, Divisor(row / kBytes, words), 0},
                      ceil_div(words, kMapThreads * kUnits), launch_parts);
      }
      offset += row;
    }
    launch_parts(parts);
  });
}

}  // namespace

WM_REGISTER_CUDA_OP(concat, concat, kContiguous)

}  // namespace wm::cuda
