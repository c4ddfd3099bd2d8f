#include "native/napi/environment.h"

namespace wm_napi {

Environment::Environment(Napi::Env env, Napi::Function error_factory) : api_(wm_get_api(WM_ABI)) {
  if (api_->executor_create("cpu", &executor_) != WM_OK) throw Napi::Error::New(env, api_->last_error());
  error_factory_ = Napi::Persistent(error_factory);
  settler_ = Settler::New(env, "wordmask", 0, 1, this);
  settler_.Unref(env);
}

Environment::~Environment() {
  // Drains first: completions posted now reach call_js without an environment and are abandoned there.
  api_->executor_free(executor_);
  settler_.Abort();
  error_factory_.SuppressDestruct();
  storage_class.SuppressDestruct();
}

void Environment::expect(Napi::Env env) {
  if (pending_++ == 0) settler_.Ref(env);
}

void Environment::post(Settlement *settlement) noexcept {
  if (settler_.NonBlockingCall(settlement) != napi_ok) {
    settlement->abandon();
    delete settlement;
  }
}

void Environment::call_js(Napi::Env env, Napi::Function, Environment *self, Settlement *settlement) {
  if (static_cast<napi_env>(env) == nullptr) {
    settlement->abandon();
    delete settlement;
    return;
  }
  // A worker that is being terminated cannot run JS any more: settling throws, and nothing above could catch it.
  try {
    settlement->finish(env);
    const bool awaited = settlement->awaited();
    delete settlement;
    if (awaited && --self->pending_ == 0) self->settler_.Unref(env);
  } catch (const Napi::Error &) {
  }
}

Napi::Value Environment::make_error(Napi::Env env, wm_status status, const std::string &text) {
  return error_factory_.Call({Napi::Number::New(env, status), Napi::String::New(env, text)});
}

void Environment::throw_error(Napi::Env env, wm_status status, const std::string &text) {
  throw Napi::Error(env, make_error(env, status, text));
}

void PromiseSettlement::done(void *user, wm_status status, const char *text) noexcept {
  auto *self = static_cast<PromiseSettlement *>(user);
  self->status_ = status;
  if (text != nullptr) self->text_ = text;
  self->environment_.post(self);
}

void PromiseSettlement::finish(Napi::Env env) {
  if (status_ == WM_OK) deferred_.Resolve(value_.Value());
  else deferred_.Reject(environment_.make_error(env, status_, text_));
}

}  // namespace wm_napi
