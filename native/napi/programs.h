// Functions of the add-on that record and run Programs.
#pragma once

#include <napi.h>

namespace wm_napi {

Napi::Value program_begin(const Napi::CallbackInfo &info);
Napi::Value program_op(const Napi::CallbackInfo &info);
void program_end(const Napi::CallbackInfo &info);
Napi::Value program_run(const Napi::CallbackInfo &info);
Napi::Value program_bytes(const Napi::CallbackInfo &info);
void program_free(const Napi::CallbackInfo &info);

}  // namespace wm_napi
