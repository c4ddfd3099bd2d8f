// Device modules for the loader's tests; which one is a compile definition.
//   FAKE_GOOD one device, FAKE_EMPTY none, FAKE_BROKEN cannot count, FAKE_OLD another ABI, FAKE_MUTE no entry symbol
#include "native/core/backend.h"

namespace {

[[maybe_unused]] wm_status device_count(int32_t *count) {
#if defined(FAKE_BROKEN)
  *count = 0;
  return WM_ERR_DEVICE;
#elif defined(FAKE_EMPTY)
  *count = 0;
  return WM_OK;
#else
  *count = 1;
  return WM_OK;
#endif
}

[[maybe_unused]] const char *last_error() { return "planned failure"; }

}  // namespace

#if defined(FAKE_MUTE)
extern "C" __attribute__((visibility("default"))) int another_symbol();
int another_symbol() { return 0; }
#else
extern "C" __attribute__((visibility("default"))) const wm_backend *wm_backend_entry(uint32_t abi);
const wm_backend *wm_backend_entry(uint32_t) {
  static wm_backend table{};
#if defined(FAKE_OLD)
  table.abi = WM_BACKEND_ABI + 1;
#else
  table.abi = WM_BACKEND_ABI;
#endif
  table.size = sizeof table;
  table.name = "fake";
  table.last_error = last_error;
  table.device_count = device_count;
  return &table;
}
#endif
