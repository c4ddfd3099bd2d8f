// Each step of the loader fails with its own name, reason and remedy, and nothing crashes. Environment:
//   WM_TEST_MODULES  folder of the fake modules
//   WM_TEST_STUB     set: an empty libcuda.so.1 is first on the library path, and the CUDA module may be in the folder
#include <dlfcn.h>

#include <cstdlib>
#include <string>

#include "native/core/backend_loader.h"
#include "test/native/check.h"

using namespace wm;

namespace {

const char *modules() { return std::getenv("WM_TEST_MODULES"); }

bool explains(const BackendStatus &status, const char *step, const char *part) {
  const bool ok = status.table == nullptr && status.step == step && status.reason.find(part) != std::string::npos &&
                  !status.remedy.empty();
  if (!ok) std::fprintf(stderr, "step %s: %s (%s)\n", status.step.c_str(), status.reason.c_str(), status.remedy.c_str());
  return ok;
}

}  // namespace

WM_TEST(a_module_with_a_device_is_used) {
  const BackendStatus status = load_backend("good", modules());
  WM_CHECK(status.table != nullptr && status.reason.empty() && status.step.empty());
  WM_CHECK(status.table != nullptr && std::string(status.table->name) == "fake");
  // What the module does not fill is not offered.
  WM_CHECK(status.table != nullptr && status.table->op_launch == nullptr);
  WM_CHECK(load_backend("good", "/elsewhere").table == status.table);
}

WM_TEST(every_step_explains_itself) {
  WM_CHECK(explains(load_backend("absent", modules()), "module", "libwordmask-absent.so"));
  WM_CHECK(explains(load_backend("mute", modules()), "module", "no wm_backend_entry"));
  WM_CHECK(explains(load_backend("old", modules()), "abi", "ABI 1 (it has 2)"));
  WM_CHECK(explains(load_backend("broken", modules()), "device", "planned failure"));
  WM_CHECK(explains(load_backend("empty", modules()), "device", "no device"));
}

WM_TEST(the_cpu_can_be_asked_for) {
  setenv("WORDMASK_BACKEND", "cpu", 1);
  WM_CHECK(explains(load_backend("unopened", modules()), "environment", "WORDMASK_BACKEND"));
  unsetenv("WORDMASK_BACKEND");
}

WM_TEST(cuda_without_a_working_driver) {
  const BackendStatus status = load_backend("cuda", modules());
  if (std::getenv("WM_TEST_STUB") != nullptr) {
    // The stub opens, so the module is asked: absent where it was not built, else it sees no usable driver.
    WM_CHECK(status.step == "module" ? explains(status, "module", "libwordmask-cuda.so") : explains(status, "device", "driver"));
  } else if (dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL) == nullptr) {
    WM_CHECK(explains(status, "driver", "libcuda.so.1"));
  } else {
    WM_CHECK(status.table != nullptr || !status.remedy.empty());
  }
}
