// State of the add-on in one JS environment (main thread or worker): its executor and the one thread-safe function
// through which other threads settle promises. Unreferenced while nothing is pending, so that the process can end.
//
// At the end of an environment Node frees the thread-safe function first and this object later, while other threads may
// still want to post. A cleanup hook, which runs before both, drains the executor and shuts the gate; whatever is
// posted afterwards is abandoned.
#pragma once

#include <napi.h>

#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "include/wordmask.h"

namespace wm_napi {

class Environment;

// Bytes of a typed array or DataView, of any kind of buffer. Throws E_USAGE for anything else.
wm_bytes bytes_of(Napi::Env env, Napi::Value value);

// Something that other threads post and the JS thread finishes. `finish` may throw when JS cannot run any more.
// `abandon` frees what it can when the environment is gone and no JS value may be touched.
class Settlement {
 public:
  virtual ~Settlement() = default;
  virtual void finish(Napi::Env env) = 0;
  virtual void abandon() = 0;
  // Whether expect() announced it and the event loop stays alive for it.
  virtual bool awaited() const { return true; }
};

// The way from other threads to the JS thread. Lives as long as anybody may post.
class Gate {
 public:
  Gate(Napi::Env env, Environment *environment);
  // JS thread.
  void ref(Napi::Env env) { settler_.Ref(env); }
  void unref(Napi::Env env) { settler_.Unref(env); }
  // JS thread, before the thread-safe function goes.
  void shut();
  // Any thread; takes the settlement over.
  void post(Settlement *settlement) noexcept;

 private:
  static void call_js(Napi::Env env, Napi::Function callback, Environment *environment, Settlement *settlement);
  using Settler = Napi::TypedThreadSafeFunction<Environment, Settlement, call_js>;

  std::mutex mutex_;
  bool open_ = true;
  Settler settler_;
};

// Bytes of storages that JS holds. V8 counts them as garbage it could collect, so that forgotten tensors are found in
// time. Every report may cost a garbage collection, so it hears of growth in steps, and of the most that was held within
// some seconds rather than of each fall: a training step that takes and frees the same bytes again and again is silent
// after the first. Finalizers use it to the very end.
class HeldBytes {
 public:
  void add(Napi::BasicEnv env, int64_t bytes);

 private:
  void report(Napi::BasicEnv env, int64_t bytes);

  int64_t held_ = 0, reported_ = 0;
  int64_t most_ = 0;  // held since window_
  std::chrono::steady_clock::time_point window_ = std::chrono::steady_clock::now();
};

class Environment {
 public:
  Environment(Napi::Env env, Napi::Function error_factory);
  ~Environment();
  static Environment &of(Napi::Env env) { return *env.GetInstanceData<Environment>(); }

  const wm_api &api() const { return *api_; }
  // A device of this environment: its number in openDevice's order, from the CPU's 0 on.
  struct Device {
    std::string name;
    wm_executor *executor;
  };
  // The device whose number an argument holds; the CPU where there is none.
  const Device &device(Napi::Env env, Napi::Value number);
  // Opens a device the first time; returns its number.
  uint32_t open_device(Napi::Env env, const std::string &name);
  const std::shared_ptr<Gate> &gate() const { return gate_; }

  // JS thread: one settlement will come; keeps the event loop alive until then.
  void expect(Napi::Env env);
  void settled(Napi::Env env);

  const std::shared_ptr<HeldBytes> &held_bytes() const { return held_bytes_; }

  // Builds a WordmaskError through the constructor that lib/binding handed over.
  Napi::Value make_error(Napi::Env env, wm_status status, const std::string &text, const std::string &device = "cpu");
  [[noreturn]] void throw_error(Napi::Env env, wm_status status, const std::string &text, const std::string &device = "cpu");
  void check(Napi::Env env, wm_status status, const std::string &device = "cpu") {
    if (status != WM_OK) throw_error(env, status, api_->last_error(), device);
  }

  Napi::FunctionReference storage_class;

 private:
  static void close(void *environment);

  const wm_api *api_;
  napi_env env_;
  std::vector<Device> devices_;
  Napi::FunctionReference error_factory_;
  std::shared_ptr<Gate> gate_;
  int64_t pending_ = 0;
  std::shared_ptr<HeldBytes> held_bytes_ = std::make_shared<HeldBytes>();
};

// A promise settled with a value (usually the ArrayBuffer the executor filled) or with a WordmaskError.
class PromiseSettlement : public Settlement {
 public:
  PromiseSettlement(Environment &environment, Napi::Env env, Napi::Value value, const std::string &device)
      : environment_(environment), gate_(environment.gate()), deferred_(env),
        value_(Napi::Reference<Napi::Value>::New(value, 1)), device_(device) {}
  Napi::Promise promise() const { return deferred_.Promise(); }
  // Takes the status of the call that was given done(): where it failed, nobody else will settle the promise.
  void started(wm_status status);
  void finish(Napi::Env env) override;
  void abandon() override { value_.SuppressDestruct(); }
  // wm_done: `user` is the settlement.
  static void done(void *user, wm_status status, const char *text) noexcept;

 private:
  Environment &environment_;  // for finish(), on the JS thread alone
  std::shared_ptr<Gate> gate_;
  Napi::Promise::Deferred deferred_;
  Napi::Reference<Napi::Value> value_;
  const std::string device_;  // for the error
  wm_status status_ = WM_OK;
  std::string text_;
};

// Lets go of a JS array that was lent to a storage.
class LoanSettlement : public Settlement {
 public:
  LoanSettlement(Environment &environment, Napi::Object array) : gate_(environment.gate()), array_(Napi::Persistent(array)) {}
  void finish(Napi::Env) override {}
  void abandon() override { array_.SuppressDestruct(); }
  bool awaited() const override { return false; }
  static void released(void *user, wm_status, const char *) noexcept;

 private:
  std::shared_ptr<Gate> gate_;
  Napi::ObjectReference array_;
};

}  // namespace wm_napi
