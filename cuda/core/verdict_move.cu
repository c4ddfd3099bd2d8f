// The verdicts of a graph's replay, out of the words that the next one writes.
#include <algorithm>

#include "cuda/core/verdict.h"

namespace wm::cuda {

namespace {

constexpr int kMostMoves = 64;  // kernel parameters may take 4 KiB in all
struct VerdictMoves {
  unsigned long long *from[kMostMoves], *to[kMostMoves];
};

// to (=) from, from (=) all bits set. A block a part, a thread a word; both in page-locked host memory.
__global__ void move_verdicts_kernel(VerdictMoves moves) {
  unsigned long long *from = moves.from[blockIdx.x] + threadIdx.x;
  if (threadIdx.x >= kVerdictWords) return;
  moves.to[blockIdx.x][threadIdx.x] = *from;
  *from = ~0ull;
}

}  // namespace

void move_verdicts(cudaStream_t stream, const wm_verdict &from, const wm_verdict &to) {
  for (size_t first = 0; first < from.parts.size(); first += kMostMoves) {
    const size_t count = std::min<size_t>(kMostMoves, from.parts.size() - first);
    VerdictMoves moves{};
    for (size_t i = 0; i < count; ++i) {
      moves.from[i] = from.parts[first + i].words;
      moves.to[i] = to.parts[first + i].words;
    }
    WM_LAUNCH(move_verdicts_kernel, dim3(static_cast<unsigned>(count)), dim3(kWarp), 0, stream, moves);
  }
}

}  // namespace wm::cuda
