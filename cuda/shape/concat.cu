// y = the inputs one behind the other along an axis; any dtype. Attribute: axis. All inputs in one launch.
// Floor: the inputs and the output once at the memory's bandwidth, also the expected limiter where rows are multiples of
// 16 bytes; narrower rows move in narrower words.
#include "cuda/core/segments.cuh"
#include "cuda/core/words.cuh"

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
int64_t measure(const LaunchCall &call, int axis, int64_t inner) {
  int64_t all = address_of(call.out(0).data);
  for (int i = 0; i < call.num_inputs() && call.has(i); ++i) {
    all |= address_of(call.in(i).data) | call.in(i).shape[axis] * inner;
  }
  return all;
}

void concat(LaunchCall &call) {
  const TensorView &out = call.out(0);
  const int axis = static_cast<int>(call.attr_int(0));
  if (axis < 0 || axis >= out.ndim) call.reject("axis %d for rank %d", axis, out.ndim);
  int64_t outer = 1, inner = static_cast<int64_t>(dtype_size(out.dtype));
  for (int d = 0; d < axis; ++d) outer *= out.shape[d];
  for (int d = axis + 1; d < out.ndim; ++d) inner *= out.shape[d];
  const int64_t pitch = out.shape[axis] * inner;
  dispatch_word({measure(call, axis, inner)}, [&](auto zero) {
    using Word = decltype(zero);
    constexpr auto kBytes = static_cast<int64_t>(sizeof(Word));
    const auto launch_parts = [&](const Parts &parts) {
      WM_LAUNCH((concat_kernel<Word>), dim3(static_cast<unsigned>(parts.blocks)), dim3(kMapThreads), 0, call.stream(),
                parts, out.as<Word>(), pitch / kBytes);
    };
    Parts parts;
    int64_t offset = 0;
    for (int i = 0; i < call.num_inputs() && call.has(i); ++i) {
      const TensorView &in = call.in(i);
      if (in.dtype != out.dtype || in.ndim != out.ndim) call.reject("input %d has another dtype or rank", i);
      const int64_t row = in.shape[axis] * inner;
      if (static_cast<int64_t>(in.bytes()) != outer * row || offset + row > pitch) {
        call.reject("input %d does not fit the output", i);
      }
      const int64_t words = outer * row / kBytes;
      if (words > 0) {
        add_or_launch(call, parts, Part{in.data, words, offset / kBytes, Divisor(row / kBytes, words), 0},
                      ceil_div(words, kMapThreads * kUnits), launch_parts);
      }
      offset += row;
    }
    if (offset != pitch) call.reject("the inputs do not fill the output");
    launch_parts(parts);
  });
}

}  // namespace

WM_REGISTER_CUDA_OP(concat, concat, kContiguous)

}  // namespace wm::cuda
