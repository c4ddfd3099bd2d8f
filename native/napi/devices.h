// Functions of the add-on that concern devices: opening, reports, memory.
#pragma once

#include <napi.h>

namespace wm_napi {

Napi::Value open_device(const Napi::CallbackInfo &info);
Napi::Value device_report(const Napi::CallbackInfo &info);
Napi::Value device_has_op(const Napi::CallbackInfo &info);
Napi::Value backend_report(const Napi::CallbackInfo &info);
Napi::Value memory(const Napi::CallbackInfo &info);
void memory_trim(const Napi::CallbackInfo &info);
void memory_reset_peak(const Napi::CallbackInfo &info);

}  // namespace wm_napi
