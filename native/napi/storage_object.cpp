#include "native/napi/storage_object.h"

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
    : Napi::ObjectWrap<StorageObject>(info), api_(&Environment::of(info.Env()).api()) {}

Napi::Object StorageObject::wrap(Napi::Env env, wm_storage *storage) {
  Environment &environment = Environment::of(env);
  Napi::Object object = environment.storage_class.New({});
  StorageObject *self = Napi::ObjectWrap<StorageObject>::Unwrap(object);
  self->storage_ = storage;
  // V8 counts it as garbage it could collect, so that forgotten tensors are found in time.
  self->reported_ = static_cast<int64_t>(environment.api().storage_bytes(storage));
  Napi::MemoryManagement::AdjustExternalMemory(env, self->reported_);
  return object;
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
  Napi::MemoryManagement::AdjustExternalMemory(env, -reported_);
}

void StorageObject::Finalize(Napi::BasicEnv env) { let_go(env); }
void StorageObject::dispose(const Napi::CallbackInfo &info) { let_go(info.Env()); }

Napi::Value StorageObject::bytes(const Napi::CallbackInfo &info) {
  return Napi::Number::New(info.Env(), storage_ == nullptr ? 0 : static_cast<double>(api_->storage_bytes(storage_)));
}

}  // namespace wm_napi
