// Self-test of a device: y[i] = 3 i + 1 over a ragged count, compared on the host. It fails where the module carries no
// code that the device can run, or where the driver does not answer; `wordmask doctor` shows the text.
#include "cuda/core/context.h"

namespace wm::cuda {

namespace {

constexpr int kCount = 1000;  // not a multiple of the block: the guard is tested too
constexpr int kThreads = 128;

// y [kCount] (=); kThreads threads a block, no shared memory, one element a thread.
__global__ void self_test_kernel(int *y, int n) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < n) y[i] = 3 * i + 1;
}

wm_status run_test(wm_stream *stream, int *device, int *host) {
  try {
    WM_LAUNCH(self_test_kernel, dim3(blocks_for(kCount, kThreads)), dim3(kThreads), 0, stream->handle, device, kCount);
  } catch (const Error &error) {
    return fail(static_cast<wm_status>(error.status()), "%s", error.what());
  }
  wm_status status = copy_out(stream, host, device, kCount * sizeof(int));
  if (status == WM_OK) status = stream_synchronise(stream);
  if (status != WM_OK) return status;
  for (int i = 0; i < kCount; ++i) {
    if (host[i] != 3 * i + 1) return fail(WM_ERR_DEVICE, "self-test: element %d is %d, not %d", i, host[i], 3 * i + 1);
  }
  return WM_OK;
}

}  // namespace

wm_status self_test(wm_context *context) {
  wm_stream *stream = nullptr;
  wm_status status = stream_create(context, &stream);
  if (status != WM_OK) return status;
  void *device = nullptr;
  status = memory_alloc(stream, kCount * sizeof(int), &device);
  if (status == WM_OK) {
    int host[kCount] = {};
    status = run_test(stream, static_cast<int *>(device), host);
    const wm_status released = memory_release(stream, device);
    if (status == WM_OK) status = released;
  }
  stream_free(stream);
  return status;
}

}  // namespace wm::cuda
