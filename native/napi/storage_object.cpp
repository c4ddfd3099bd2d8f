#include "native/napi/storage_object.h"

#include <algorithm>
#include <memory>

namespace wm_napi {

void StorageObject::define(Napi::Env env, Napi::Object exports, Environment &environment) {
  Napi::Function cls = DefineClass(env, "Storage", {
      InstanceMethod<&StorageObject::dispose>("dispose"),
      InstanceAccessor<&StorageObject::bytes>("bytes"),
  });
  environment.storage_class = Napi::Persistent(cls);
  exports.Set("Storage", cls);
}

StorageObject::StorageObject(const Napi::CallbackInfo &info)
    : Napi::ObjectWrap<StorageObject>(info), api_(&Environment::of(info.Env()).api()), held_bytes_(Environment::of(info.Env()).held_bytes()) {}

namespace {

// A size that no machine has is asked for by mistake and never allocated: V8 would collect garbage for it at every call.
constexpr size_t kMostReported = size_t{1} << 28;

using Owned = std::unique_ptr<wm_storage, void (*)(wm_storage *)>;

}  // namespace

Napi::Object StorageObject::wrap(Napi::Env env, wm_storage *storage) {
  Environment &environment = Environment::of(env);
  Owned owned(storage, environment.api().storage_release);
  Napi::Object object = environment.storage_class.New({});
  StorageObject *self = Napi::ObjectWrap<StorageObject>::Unwrap(object);
  self->storage_ = owned.release();
  self->bytes_ = environment.api().storage_bytes(storage);
  self->reported_ = static_cast<int64_t>(std::min(self->bytes_, kMostReported));
  self->held_bytes_->add(env, self->reported_);
  return object;
}

Napi::Array StorageObject::wrap_all(Napi::Env env, const std::vector<wm_storage *> &storages) {
  std::vector<Owned> owned;
  for (wm_storage *storage : storages) owned.emplace_back(storage, Environment::of(env).api().storage_release);
  Napi::Array result = Napi::Array::New(env, owned.size());
  for (size_t i = 0; i < owned.size(); ++i) result.Set(static_cast<uint32_t>(i), wrap(env, owned[i].release()));
  return result;
}

wm_storage *StorageObject::unwrap(Napi::Env env, Napi::Value value) {
  Environment &environment = Environment::of(env);
  if (!value.IsObject() || !value.As<Napi::Object>().InstanceOf(environment.storage_class.Value())) {
    environment.throw_error(env, WM_ERR_USAGE, "expected a Storage");
  }
  StorageObject *self = Napi::ObjectWrap<StorageObject>::Unwrap(value.As<Napi::Object>());
  if (self->storage_ == nullptr) environment.throw_error(env, WM_ERR_DISPOSED, "the tensor's storage was disposed");
  return self->storage_;
}

void StorageObject::let_go(Napi::BasicEnv env) {
  if (storage_ == nullptr) return;
  api_->storage_release(storage_);
  storage_ = nullptr;
  held_bytes_->add(env, -reported_);
}

void StorageObject::Finalize(Napi::BasicEnv env) { let_go(env); }
void StorageObject::dispose(const Napi::CallbackInfo &info) { let_go(info.Env()); }

Napi::Value StorageObject::bytes(const Napi::CallbackInfo &info) {
  return Napi::Number::New(info.Env(), storage_ == nullptr ? 0 : static_cast<double>(bytes_));
}

}  // namespace wm_napi
