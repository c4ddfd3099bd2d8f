// The functions behind wordmask.h that concern devices of modules.
#pragma once

#include "include/wordmask.h"

namespace wm {

wm_status device_report(const char *device, wm_device_report *out);
wm_status device_open(const char *device);
wm_status device_memory(const char *device, wm_memory *out);
wm_status device_trim(const char *device);
wm_status device_reset_peak(const char *device);
int32_t device_has_op(const char *device, const char *op);

}  // namespace wm
