// A device of a module, opened once a process and kept: its table, its context, and what it said about itself. A device
// that failed to open is asked again the next time, since what stood in the way (all memory taken, say) may be gone.
#pragma once

#include <memory>
#include <string>

#include "native/core/backend.h"
#include "native/core/status.h"

namespace wm {

class DeviceContext {
 public:
  // "cuda:1", or "cuda" for its first device. The self-test has passed. Throws Status::device with what was found and what to do.
  static DeviceContext &open(const std::string &device);
  // Null while nobody has opened it.
  static DeviceContext *find(const std::string &device);

  const wm_backend &table() const { return *table_; }
  wm_context *context() const { return context_; }
  const std::string &name() const { return name_; }

  // Throws what the module said about a call that failed.
  void check(wm_status status, const char *what) const;

 private:
  DeviceContext(std::string name, const wm_backend *table, wm_context *context)
      : name_(std::move(name)), table_(table), context_(context) {}

  const std::string name_;
  const wm_backend *table_;
  wm_context *context_;
};

// What a module says about a device without using it; `usable` is false with a reason where there is none of that number.
struct DeviceReport {
  wm_device_info info{};
  std::string reason, remedy;
};
DeviceReport report_device(const std::string &device);

// The folder of this code's shared object: device modules lie beside it.
std::string own_folder();

}  // namespace wm
