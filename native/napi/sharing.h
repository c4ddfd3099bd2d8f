// Functions of the add-on that share memory with other add-ons: DLPack, handles.
#pragma once

#include <napi.h>

namespace wm_napi {

// exportDlpack(storage, meta, device) -> Promise<External> (wm_dlpack_box)
Napi::Value export_dlpack(const Napi::CallbackInfo &info);
// dlpackDevice(external) -> 'cpu' | 'cuda:0': where the values lie
Napi::Value dlpack_device(const Napi::CallbackInfo &info);
// importDlpack(external, device) -> { storage, dtype, shape, strides, offset }; takes the tensor out of the box
Napi::Value import_dlpack(const Napi::CallbackInfo &info);
// handle(storage, meta, device) -> External (wm_tensor_handle)
Napi::Value handle(const Napi::CallbackInfo &info);

}  // namespace wm_napi
