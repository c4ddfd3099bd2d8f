// A kernel that lacks the barrier between its write and its read, or has it with --barrier. Under ThreadSanitizer the
// first must be reported (exit status 66, or 1 with halt_on_error) and the second must not.
#include <cstdio>
#include <cstring>
#include <vector>

#include "cuda/core/simt.h"

namespace {

__global__ void rotate_kernel(int *y, bool barrier) {
  __shared__ int row[64];
  row[threadIdx.x] = static_cast<int>(threadIdx.x);
  if (barrier) __syncthreads();
  y[threadIdx.x] = row[(threadIdx.x + 63) % 64];
}

}  // namespace

int main(int argc, char **argv) {
  const bool barrier = argc > 1 && std::strcmp(argv[1], "--barrier") == 0;
  std::vector<int> y(64);
  WM_LAUNCH(rotate_kernel, dim3(2), dim3(64), 0, nullptr, y.data(), barrier);
  if (barrier && y[0] != 63) return 2;
  std::printf("done\n");
  return 0;
}
