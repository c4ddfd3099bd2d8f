#include "native/core/backend_loader.h"

#include <dlfcn.h>

#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>

#include "native/core/tensor_view.h"

namespace wm {

// Views cross the border without being rewritten.
static_assert(sizeof(wm_tensor_view) == sizeof(TensorView) && WM_MAX_DIMS == kMaxDims, "views differ");
static_assert(offsetof(wm_tensor_view, ndim) == offsetof(TensorView, ndim), "views differ");
static_assert(offsetof(wm_tensor_view, stride) == offsetof(TensorView, stride), "views differ");

namespace {

std::string dl_reason() {
  const char *text = dlerror();
  return text != nullptr ? text : "unknown reason";
}

BackendStatus failed(const char *step, std::string reason, std::string remedy) {
  return {nullptr, step, std::move(reason), std::move(remedy)};
}

// The module would load without a driver and then report a version mismatch: opening the driver first gives the true
// reason. The handle stays open, so the module's own lookup finds the same library.
bool probe_driver(const std::string &name, BackendStatus &status) {
  if (name != "cuda" || dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL) != nullptr) return true;
  status = failed("driver", "the NVIDIA driver cannot be opened: " + dl_reason(),
                  "install the NVIDIA driver (`nvidia-smi` must list the GPU); in a container, start it with GPU access "
                  "(`docker run --gpus all`)");
  return false;
}

wm_backend_entry_function open_module(const std::string &name, const std::string &directory, BackendStatus &status) {
  const std::string path = directory + "/libwordmask-" + name + ".so";
  void *module = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (module == nullptr) {
    status = failed("module", "the " + name + " module cannot be opened: " + dl_reason(),
                    name == "cuda" ? "install @wordmask/linux-x64-cuda, or build it where nvcc is on PATH: `npm run build`"
                                   : "build it: `npm run build`");
    return nullptr;
  }
  void *symbol = dlsym(module, "wm_backend_entry");
  if (symbol == nullptr) {
    status = failed("module", path + " has no wm_backend_entry: it is not a module of this package", "rebuild it: `npm run build`");
    return nullptr;
  }
  return reinterpret_cast<wm_backend_entry_function>(symbol);
}

const char *last_error(const wm_backend *table) {
  const char *text = table->last_error != nullptr ? table->last_error() : nullptr;
  return text != nullptr && *text != '\0' ? text : "no reason given";
}

BackendStatus open_backend(const std::string &name, const std::string &directory) {
  const char *wanted = std::getenv("WORDMASK_BACKEND");
  if (wanted != nullptr && std::strcmp(wanted, "cpu") == 0) {
    return failed("environment", "WORDMASK_BACKEND=cpu keeps every device module closed", "unset WORDMASK_BACKEND");
  }
  BackendStatus status;
  if (!probe_driver(name, status)) return status;
  const wm_backend_entry_function entry = open_module(name, directory, status);
  if (entry == nullptr) return status;

  const wm_backend *table = entry(WM_BACKEND_ABI);
  // `device_count` is the last entry that this check calls; a table that ends before it is not one of ours.
  const size_t needed = offsetof(wm_backend, device_count) + sizeof(table->device_count);
  if (table == nullptr || table->abi != WM_BACKEND_ABI || table->size < needed || table->device_count == nullptr) {
    return failed("abi", "the " + name + " module does not speak ABI " + std::to_string(WM_BACKEND_ABI) +
                  (table != nullptr ? " (it has " + std::to_string(table->abi) + ")" : ""),
                  "add-on and module must come from one version: reinstall, or `npm run build`");
  }

  int32_t count = 0;
  if (table->device_count(&count) != WM_OK) {
    return failed("device", "the " + name + " devices cannot be counted: " + last_error(table),
                  "see whether `nvidia-smi` works and whether the driver is new enough for CUDA 13");
  }
  if (count < 1) {
    return failed("device", "the " + name + " module finds no device",
                  "see whether `nvidia-smi` lists a GPU and whether CUDA_VISIBLE_DEVICES hides it");
  }
  status.table = table;
  return status;
}

}  // namespace

BackendStatus load_backend(const char *name, const char *directory) {
  static std::mutex mutex;
  static auto *known = new std::map<std::string, BackendStatus>();
  std::lock_guard<std::mutex> lock(mutex);
  auto found = known->find(name);
  if (found == known->end()) found = known->emplace(name, open_backend(name, directory)).first;
  return found->second;
}

}  // namespace wm
