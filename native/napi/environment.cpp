#include "native/napi/environment.h"

namespace wm_napi {

Gate::Gate(Napi::Env env, Environment *environment) : settler_(Settler::New(env, "wordmask", 0, 1, environment)) {
  settler_.Unref(env);
}

void Gate::shut() {
  std::lock_guard<std::mutex> lock(mutex_);
  open_ = false;
}

void Gate::post(Settlement *settlement) noexcept {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (open_ && settler_.NonBlockingCall(settlement) == napi_ok) return;
  }
  settlement->abandon();
  delete settlement;
}

void Gate::call_js(Napi::Env env, Napi::Function, Environment *environment, Settlement *settlement) {
  const std::unique_ptr<Settlement> owned(settlement);
  if (static_cast<napi_env>(env) == nullptr) {
    settlement->abandon();
    return;
  }
  if (settlement->awaited()) environment->settled(env);
  // A worker that is being terminated cannot run JS any more: settling throws, and nothing above could catch it.
  try {
    settlement->finish(env);
  } catch (const Napi::Error &) {
  }
}

Environment::Environment(Napi::Env env, Napi::Function error_factory) : api_(wm_get_api(WM_ABI)), env_(env) {
  wm_executor *cpu = nullptr;
  if (api_->executor_create("cpu", &cpu) != WM_OK) throw Napi::Error::New(env, api_->last_error());
  devices_.push_back({"cpu", cpu});
  error_factory_ = Napi::Persistent(error_factory);
  gate_ = std::make_shared<Gate>(env, this);
  // Hooks run in reverse order: after the thread-safe function's own, so that this one comes first.
  napi_add_env_cleanup_hook(env, close, this);
}

void Environment::close(void *data) {
  auto *self = static_cast<Environment *>(data);
  // Commands in flight end here; their completions still pass the gate and reach call_js without an environment.
  for (Device &device : self->devices_) {
    self->api_->executor_free(device.executor);
    device.executor = nullptr;
  }
  self->gate_->shut();
}

const Environment::Device &Environment::device(Napi::Env env, Napi::Value number) {
  if (number.IsUndefined()) return devices_[0];
  const uint32_t index = number.IsNumber() ? number.As<Napi::Number>().Uint32Value() : UINT32_MAX;
  if (index >= devices_.size()) throw_error(env, WM_ERR_USAGE, "no device of that number was opened");
  return devices_[index];
}

uint32_t Environment::open_device(Napi::Env env, const std::string &name) {
  for (uint32_t i = 0; i < devices_.size(); ++i) {
    if (devices_[i].name == name) return i;
  }
  wm_executor *executor = nullptr;
  check(env, api_->executor_create(name.c_str(), &executor), name);
  devices_.push_back({name, executor});
  return static_cast<uint32_t>(devices_.size() - 1);
}

Environment::~Environment() {
  error_factory_.SuppressDestruct();
  storage_class.SuppressDestruct();
}

void Environment::expect(Napi::Env env) {
  if (pending_++ == 0) gate_->ref(env);
}

void Environment::settled(Napi::Env env) {
  if (--pending_ == 0) gate_->unref(env);
}

void HeldBytes::add(Napi::BasicEnv env, int64_t bytes) {
  constexpr int64_t kStep = int64_t{16} << 20;
  constexpr std::chrono::seconds kWindow{5};
  held_ += bytes;
  if (held_ > most_) most_ = held_;
  if (held_ - reported_ >= kStep) report(env, held_);
  if (bytes >= 0) return;
  const auto now = std::chrono::steady_clock::now();
  if (now - window_ < kWindow) return;
  if (reported_ - most_ >= kStep) report(env, most_);
  window_ = now;
  most_ = held_;
}

void HeldBytes::report(Napi::BasicEnv env, int64_t bytes) {
  Napi::MemoryManagement::AdjustExternalMemory(env, bytes - reported_);
  reported_ = bytes;
}

Napi::Value Environment::make_error(Napi::Env env, wm_status status, const std::string &text, const std::string &device) {
  return error_factory_.Call({Napi::Number::New(env, status), Napi::String::New(env, text), Napi::String::New(env, device)});
}

void Environment::throw_error(Napi::Env env, wm_status status, const std::string &text, const std::string &device) {
  throw Napi::Error(env, make_error(env, status, text, device));
}

void PromiseSettlement::done(void *user, wm_status status, const char *text) noexcept {
  auto *self = static_cast<PromiseSettlement *>(user);
  self->status_ = status;
  if (text != nullptr) self->text_ = text;
  const std::shared_ptr<Gate> gate = self->gate_;
  gate->post(self);
}

void PromiseSettlement::started(wm_status status) {
  if (status != WM_OK) done(this, status, environment_.api().last_error());
}

void PromiseSettlement::finish(Napi::Env env) {
  if (status_ == WM_OK) deferred_.Resolve(value_.Value());
  else deferred_.Reject(environment_.make_error(env, status_, text_, device_));
}

wm_bytes bytes_of(Napi::Env env, Napi::Value value) {
  void *data = nullptr;
  size_t size = 0;
  if (value.IsTypedArray()) {
    // Through the view itself: the ArrayBuffer functions do not take shared memory.
    napi_typedarray_type type;
    size_t length = 0;
    if (napi_get_typedarray_info(env, value, &type, &length, &data, nullptr, nullptr) == napi_ok) {
      size = value.As<Napi::TypedArray>().ElementSize() * length;
    }
  } else if (value.IsDataView()) {
    napi_get_dataview_info(env, value, &size, &data, nullptr, nullptr);
  } else {
    Environment::of(env).throw_error(env, WM_ERR_USAGE, "expected a typed array");
  }
  return {data, size};
}

void LoanSettlement::released(void *user, wm_status, const char *) noexcept {
  auto *self = static_cast<LoanSettlement *>(user);
  const std::shared_ptr<Gate> gate = self->gate_;
  gate->post(self);
}

}  // namespace wm_napi
