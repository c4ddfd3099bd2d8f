#include "native/napi/sharing.h"

#include <memory>
#include <vector>

#include "native/napi/environment.h"
#include "native/napi/meta_reader.h"
#include "native/napi/storage_object.h"

namespace wm_napi {

namespace {

constexpr napi_type_tag kDlpackTag = {WM_DLPACK_TAG_LOWER, WM_DLPACK_TAG_UPPER};
constexpr napi_type_tag kHandleTag = {WM_HANDLE_TAG_LOWER, WM_HANDLE_TAG_UPPER};

// Finalizers of Externals: no JS is touched, and a release is queued alone.
void free_box(Napi::BasicEnv, wm_dlpack_box *box) {
  if (box->tensor != nullptr && box->tensor->deleter != nullptr) box->tensor->deleter(box->tensor);
  delete box;
}

wm_dlpack_box *box_of(Napi::Env env, Napi::Value value) {
  Environment &environment = Environment::of(env);
  if (!value.IsExternal() || !value.As<Napi::External<wm_dlpack_box>>().CheckTypeTag(&kDlpackTag)) {
    environment.throw_error(env, WM_ERR_USAGE, "fromDLPack: expected an External with the tag of wm_dlpack_box (wordmask.h)");
  }
  wm_dlpack_box *box = value.As<Napi::External<wm_dlpack_box>>().Data();
  if (box == nullptr || box->tensor == nullptr) {
    environment.throw_error(env, WM_ERR_DISPOSED, "fromDLPack: the tensor was taken before: ask its owner for another");
  }
  return box;
}

Napi::Array numbers(Napi::Env env, const int64_t *values, int32_t count) {
  Napi::Array list = Napi::Array::New(env, static_cast<size_t>(count));
  for (int32_t i = 0; i < count; ++i) list.Set(static_cast<uint32_t>(i), static_cast<double>(values[i]));
  return list;
}

}  // namespace

Napi::Value export_dlpack(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  Environment &environment = Environment::of(env);
  const wm_view view = MetaReader(env, info[1]).view(info[0]);
  const Environment::Device &device = environment.device(env, info[2]);
  auto *box = new wm_dlpack_box{nullptr, nullptr};
  auto external = Napi::External<wm_dlpack_box>::New(env, box, free_box);
  external.TypeTag(&kDlpackTag);
  auto *settlement = new PromiseSettlement(environment, env, external, device.name);
  Napi::Promise promise = settlement->promise();
  environment.expect(env);
  settlement->started(
      environment.api().dlpack_export(device.executor, &view, &box->tensor, PromiseSettlement::done, settlement));
  return promise;
}

Napi::Value dlpack_device(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  const auto &device = box_of(env, info[0])->tensor->dl_tensor.device;
  const std::string id = ":" + std::to_string(device.id);
  switch (device.type) {
    case WM_DLPACK_CPU:
    case WM_DLPACK_CUDA_HOST: return Napi::String::New(env, "cpu");
    case WM_DLPACK_CUDA: return Napi::String::New(env, "cuda" + id);
    case WM_DLPACK_EXTENSION: return Napi::String::New(env, "simt" + id);
    default: break;
  }
  Environment::of(env).throw_error(env, WM_ERR_DEVICE, "fromDLPack: a tensor of DLPack device type " + std::to_string(device.type) +
                                                           ": the CPU (1, 3) and CUDA (2) are taken, copy it to one of them");
}

Napi::Value import_dlpack(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  Environment &environment = Environment::of(env);
  const Environment::Device &device = environment.device(env, info[1]);
  wm_dlpack_box *box = box_of(env, info[0]);
  wm_view view{};
  environment.check(env, environment.api().dlpack_import(device.executor, box->tensor, box->stream, &view), device.name);
  box->tensor = nullptr;
  Napi::Object result = Napi::Object::New(env);
  result.Set("storage", StorageObject::wrap(env, view.storage));
  result.Set("dtype", view.dtype);
  result.Set("offset", static_cast<double>(view.offset));
  result.Set("shape", numbers(env, view.shape, view.ndim));
  result.Set("strides", numbers(env, view.stride, view.ndim));
  return result;
}

Napi::Value handle(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  Environment &environment = Environment::of(env);
  const wm_view view = MetaReader(env, info[1]).view(info[0]);
  const Environment::Device &device = environment.device(env, info[2]);
  const wm_api *api = &environment.api();
  api->storage_retain(view.storage);
  auto external = Napi::External<wm_tensor_handle>::New(env, new wm_tensor_handle{device.executor, view},
                                                        [api](Napi::BasicEnv, wm_tensor_handle *handle) {
                                                          api->storage_release(handle->view.storage);
                                                          delete handle;
                                                        });
  external.TypeTag(&kHandleTag);
  return external;
}

}  // namespace wm_napi
