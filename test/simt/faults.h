// Faults that a test asks the emulated device for (test/simt/runtime.cpp says how).
#pragma once

#include <cuda_runtime_api.h>

#include <string>

namespace wm::simt {

// The error that this call shall fail with, or cudaSuccess.
cudaError_t injected_fault(const char *call);

}  // namespace wm::simt
