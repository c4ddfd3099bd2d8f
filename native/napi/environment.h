// State of the add-on in one JS environment (main thread or worker): its executor and the one thread-safe function
// through which other threads settle promises. Unreferenced while nothing is pending, so that the process can end.
#pragma once

#include <napi.h>

#include <string>

#include "include/wordmask.h"

namespace wm_napi {

// Something that other threads post and the JS thread finishes. `finish` must not throw. `abandon` frees what it can
// when the environment is gone and no JS value may be touched.
class Settlement {
 public:
  virtual ~Settlement() = default;
  virtual void finish(Napi::Env env) = 0;
  virtual void abandon() = 0;
  // Whether expect() announced it and the event loop stays alive for it.
  virtual bool awaited() const { return true; }
};

class Environment {
 public:
  Environment(Napi::Env env, Napi::Function error_factory);
  ~Environment();
  static Environment &of(Napi::Env env) { return *env.GetInstanceData<Environment>(); }

  const wm_api &api() const { return *api_; }
  wm_executor *executor() const { return executor_; }

  // JS thread: one settlement will come; keeps the event loop alive until then.
  void expect(Napi::Env env);
  // Any thread.
  void post(Settlement *settlement) noexcept;

  // Builds a WordmaskError through the constructor that lib/binding handed over.
  Napi::Value make_error(Napi::Env env, wm_status status, const std::string &text);
  [[noreturn]] void throw_error(Napi::Env env, wm_status status, const std::string &text);
  void check(Napi::Env env, wm_status status) {
    if (status != WM_OK) throw_error(env, status, api_->last_error());
  }

  Napi::FunctionReference storage_class;

 private:
  static void call_js(Napi::Env env, Napi::Function callback, Environment *self, Settlement *settlement);
  using Settler = Napi::TypedThreadSafeFunction<Environment, Settlement, call_js>;

  const wm_api *api_;
  wm_executor *executor_ = nullptr;
  Napi::FunctionReference error_factory_;
  Settler settler_;
  int64_t pending_ = 0;
};

// A promise settled with a value (usually the ArrayBuffer the executor filled) or with a WordmaskError.
class PromiseSettlement : public Settlement {
 public:
  PromiseSettlement(Environment &environment, Napi::Env env, Napi::Value value)
      : environment_(environment), deferred_(env), value_(Napi::Reference<Napi::Value>::New(value, 1)) {}
  Napi::Promise promise() const { return deferred_.Promise(); }
  void finish(Napi::Env env) override;
  void abandon() override { value_.SuppressDestruct(); }
  // wm_done: `user` is the settlement.
  static void done(void *user, wm_status status, const char *text) noexcept;

 private:
  Environment &environment_;
  Napi::Promise::Deferred deferred_;
  Napi::Reference<Napi::Value> value_;
  wm_status status_ = WM_OK;
  std::string text_;
};

// Lets go of a JS array that was lent to a storage.
class LoanSettlement : public Settlement {
 public:
  LoanSettlement(Environment &environment, Napi::Object array)
      : environment_(environment), array_(Napi::Persistent(array)) {}
  void finish(Napi::Env) override {}
  void abandon() override { array_.SuppressDestruct(); }
  bool awaited() const override { return false; }
  static void released(void *user, wm_status, const char *) noexcept {
    auto *self = static_cast<LoanSettlement *>(user);
    self->environment_.post(self);
  }

 private:
  Environment &environment_;
  Napi::ObjectReference array_;
};

}  // namespace wm_napi
