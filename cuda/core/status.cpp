#include "cuda/core/status.h"

#include <atomic>
#include <cstdarg>
#include <cstdio>
#include <cstring>

namespace wm::cuda {

namespace {

thread_local char error_text[1024] = "";
std::atomic<bool> lost{false};

// Errors after which every call on the context fails the same way (CUDA runtime API, "sticky" errors).
bool is_sticky(cudaError_t error) {
  switch (error) {
    case cudaErrorIllegalAddress:
    case cudaErrorMisalignedAddress:
    case cudaErrorIllegalInstruction:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorHardwareStackError:
    case cudaErrorLaunchFailure:
    case cudaErrorLaunchTimeout:
    case cudaErrorAssert:
    case cudaErrorECCUncorrectable:
    case cudaErrorNvlinkUncorrectable: return true;
    default: return false;
  }
}

}  // namespace

wm_status fail(wm_status status, const char *format, ...) {
  va_list args;
  va_start(args, format);
  std::vsnprintf(error_text, sizeof error_text, format, args);
  va_end(args);
  return status;
}

wm_status fail_call(cudaError_t error, const char *expression, const char *file, int line) {
  cudaGetLastError();  // a plain error must not be reported a second time by the next launch check
  const char *slash = std::strrchr(file, '/');
  wm_status status = WM_ERR_DEVICE;
  if (error == cudaErrorMemoryAllocation) status = WM_ERR_MEMORY;
  if (is_sticky(error)) lost.store(true);
  if (device_lost()) status = WM_ERR_DEVICE_LOST;
  return fail(status, "%s (%s) from %s, %s:%d", cudaGetErrorString(error), cudaGetErrorName(error), expression,
              slash != nullptr ? slash + 1 : file, line);
}

const char *last_error() { return error_text; }
bool device_lost() { return lost.load(); }

}  // namespace wm::cuda
