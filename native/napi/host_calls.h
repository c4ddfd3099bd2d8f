#pragma once

#include <napi.h>

namespace wm_napi {

// host(name, arrays, attrs, token | null) -> Promise<Uint8Array[]>. The arrays must not change until it settles.
Napi::Value host(const Napi::CallbackInfo &info);
// hostSync(name, arrays, attrs) -> Uint8Array[]; for short work.
Napi::Value host_sync(const Napi::CallbackInfo &info);

}  // namespace wm_napi
