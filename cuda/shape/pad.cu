// pad: x with zeros before and after each axis (attributes before0..before7, after0..after7); slice_bwd: dy at rows
// begin.. of an axis of `length` zeros (attributes axis, begin, length). Any dtype. The output is written once: a word is
// copied where it lies inside x, else zero. Floor: x and y once at the memory's bandwidth, also the expected limiter
// where rows are multiples of 16 bytes.
#include "cuda/core/words.cuh"
#include "native/core/shape_checks.h"

namespace wm::cuda {

namespace {

// Axes between which nothing is added are merged; the last one counts words.
struct Placement {
  int ndim = 0;
  Divisor size[kMaxDims];  // of the output
  int64_t before[kMaxDims] = {}, inside[kMaxDims] = {}, step[kMaxDims] = {};  // step: in x
};

constexpr int kUnits = 2;  // words a thread

// y [words] (=). 256 threads a block, no shared memory.
template <class Word>
__global__ void __launch_bounds__(kMapThreads) place_kernel(Placement plan, const Word *x, Word *y, int64_t words) {
  const int64_t first = static_cast<int64_t>(blockIdx.x) * (kMapThreads * kUnits) + threadIdx.x;
#pragma unroll
  for (int u = 0; u < kUnits; ++u) {
    const int64_t at = first + u * kMapThreads;
    if (at >= words) break;
    int64_t rest = at, source = 0;
    bool inside = true;
    for (int d = plan.ndim - 1; d >= 0; --d) {
      const int64_t i = (d > 0 ? plan.size[d].split(rest) : rest) - plan.before[d];
      inside = inside && i >= 0 && i < plan.inside[d];
      source += i * plan.step[d];
    }
    y[at] = inside ? x[source] : Word{};
  }
}

// Axes of the output in elements: [size, before, inside], merged where the inner one is x's own.
struct Axes {
  int ndim = 0;
  int64_t size[kMaxDims + 1], before[kMaxDims + 1], inside[kMaxDims + 1];
};

Axes merge_axes(const TensorView &x, const TensorView &out, const int64_t *before) {
  Axes axes;
  const auto bytes = static_cast<int64_t>(dtype_size(x.dtype));
  // From the inside out; an axis joins the ones inside it where those are whole.
  int64_t size = bytes, begin = 0, inside = bytes;
  for (int d = x.ndim - 1; d >= 0; --d) {
    const bool whole = begin == 0 && size == inside;
    if (!whole) {
      axes.size[axes.ndim] = size;
      axes.before[axes.ndim] = begin;
      axes.inside[axes.ndim++] = inside;
      size = inside = 1;
    }
    begin = before[d] * size;
    inside = x.shape[d] * size;
    size = out.shape[d] * size;
  }
  axes.size[axes.ndim] = size;
  axes.before[axes.ndim] = begin;
  axes.inside[axes.ndim++] = inside;
  return axes;
}

void place(LaunchCall &call, const TensorView &x, const TensorView &out, const int64_t *before) {
  check_padded(call, x, out, before);
  const Axes axes = merge_axes(x, out, before);  // innermost first, in bytes
  dispatch_word({axes.size[0], axes.before[0], axes.inside[0], address_of(x.data), address_of(out.data)}, [&](auto zero) {
    using Word = decltype(zero);
    constexpr auto kBytes = static_cast<int64_t>(sizeof(Word));
    const int64_t words = static_cast<int64_t>(out.bytes()) / kBytes;
    Placement plan;
    plan.ndim = axes.ndim;
    int64_t step = 1;
    for (int i = 0; i < axes.ndim; ++i) {
      const int d = axes.ndim - 1 - i;
      const int64_t unit = i == 0 ? kBytes : 1;
      plan.size[d] = Divisor(axes.size[i] / unit, words);
      plan.before[d] = axes.before[i] / unit;
      plan.inside[d] = axes.inside[i] / unit;
      plan.step[d] = step;
      step *= axes.inside[i] / unit;
    }
    WM_LAUNCH((place_kernel<Word>), dim3(blocks_for(words, kMapThreads * kUnits)), dim3(kMapThreads), 0, call.stream(),
              plan, x.as<const Word>(), out.as<Word>(), words);
  });
}

void pad(LaunchCall &call) { place(call, call.in(0), call.out(0), read_pad(call).before); }
void slice_bwd(LaunchCall &call) { place(call, call.in(0), call.out(0), read_slice_bwd(call).before); }

}  // namespace

WM_REGISTER_CUDA_OP(pad, pad, kContiguous)
WM_REGISTER_CUDA_OP(slice_bwd, slice_bwd, kContiguous)

}  // namespace wm::cuda
