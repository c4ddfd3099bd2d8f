#include "native/api/devices.h"

#include <cstddef>

#include "native/api/handles.h"
#include "native/core/device_context.h"

namespace wm {

wm_status device_report(const char *device, wm_device_report *out) {
  return guarded([&] {
    thread_local DeviceReport report;
    report = report_device(device);
    const wm_device_info &info = report.info;
    *out = {info.usable, info.name, report.reason.c_str(), report.remedy.c_str(), info.capability_major,
            info.capability_minor, info.multiprocessors, info.driver_version, info.runtime_version, info.total_bytes,
            info.free_bytes};
  });
}

wm_status device_open(const char *device) {
  return guarded([&] { DeviceContext::open(device); });
}

namespace {

// A device that is lost holds nothing and has nothing to give: its failure belongs to the work that met it.
void check_alive(const DeviceContext &device, wm_status status) {
  if (status != WM_ERR_DEVICE_LOST) device.check(status, "memory");
}

}  // namespace

wm_status device_memory(const char *device, wm_memory *out) {
  return guarded([&] {
    *out = {};
    const DeviceContext *found = DeviceContext::find(device);
    if (found != nullptr) check_alive(*found, found->table().memory_stats(found->context(), out));
  });
}

wm_status device_trim(const char *device) {
  return guarded([&] {
    const DeviceContext *found = DeviceContext::find(device);
    if (found != nullptr) check_alive(*found, found->table().memory_trim(found->context()));
  });
}

wm_status device_reset_peak(const char *device) {
  return guarded([&] {
    const DeviceContext *found = DeviceContext::find(device);
    if (found == nullptr) return;
    const wm_backend &table = found->table();
    const size_t reach = offsetof(wm_backend, memory_reset_peak) + sizeof table.memory_reset_peak;
    if (table.size < reach || table.memory_reset_peak == nullptr) return;
    check_alive(*found, table.memory_reset_peak(found->context()));
  });
}

int32_t device_has_op(const char *device, const char *op) {
  int32_t found = 0;
  guarded([&] {
    const DeviceContext *context = DeviceContext::find(device);
    uint32_t flags = 0;
    if (context != nullptr) found = context->table().op_find(op, &flags) != nullptr ? 1 : 0;
  });
  return found;
}

}  // namespace wm
