// The JS face of a storage: `bytes`, `dispose()`. Its finalizer touches no JS and only queues the release.
#pragma once

#include <vector>

#include "native/napi/environment.h"

namespace wm_napi {

class StorageObject : public Napi::ObjectWrap<StorageObject> {
 public:
  static void define(Napi::Env env, Napi::Object exports, Environment &environment);
  // Takes over the reference, also where it throws (a worker that is being terminated makes no objects).
  static Napi::Object wrap(Napi::Env env, wm_storage *storage);
  static Napi::Array wrap_all(Napi::Env env, const std::vector<wm_storage *> &storages);
  // Borrowed; throws E_USAGE for anything else and E_DISPOSED after dispose().
  static wm_storage *unwrap(Napi::Env env, Napi::Value value);

  explicit StorageObject(const Napi::CallbackInfo &info);
  void Finalize(Napi::BasicEnv env) override;

 private:
  void dispose(const Napi::CallbackInfo &info);
  Napi::Value bytes(const Napi::CallbackInfo &info);
  void let_go(Napi::BasicEnv env);

  const wm_api *api_;
  std::shared_ptr<HeldBytes> held_bytes_;
  wm_storage *storage_ = nullptr;
  size_t bytes_ = 0;
  int64_t reported_ = 0;
};

}  // namespace wm_napi
