// Failures of the CUDA module: a status for the caller, a text for last_error(), no exception and no exit.
#pragma once

#include <cuda_runtime_api.h>

#include "native/core/backend.h"

namespace wm::cuda {

// Keeps `text` for last_error() of this thread and returns `status`.
__attribute__((format(printf, 2, 3))) wm_status fail(wm_status status, const char *format, ...);
// Translates a failed runtime call: out of memory, device lost (sticky), else device.
wm_status fail_call(cudaError_t error, const char *expression, const char *file, int line);
const char *last_error();

// True once a call returned an error that the context never recovers from; every later call says so.
bool device_lost();

}  // namespace wm::cuda

// Returns a status from the enclosing function when a runtime call fails.
#define WM_TRY(call)                                                                             \
  do {                                                                                           \
    const cudaError_t wm_error = (call);                                                         \
    if (wm_error != cudaSuccess) return ::wm::cuda::fail_call(wm_error, #call, __FILE__, __LINE__); \
  } while (0)
