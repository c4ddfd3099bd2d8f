// host(name, arrays, attrs, token) and hostSync(name, arrays, attrs): the generic door to native/host.
#include "native/napi/host_calls.h"

#include <cstring>
#include <memory>
#include <vector>

#include "native/napi/environment.h"

namespace wm_napi {

namespace {

std::vector<wm_bytes> spans_of(Napi::Env env, Napi::Array arrays) {
  std::vector<wm_bytes> spans;
  for (uint32_t i = 0; i < arrays.Length(); ++i) spans.push_back(bytes_of(env, arrays.Get(i)));
  return spans;
}

Napi::Array to_js(Napi::Env env, const wm_api &api, const wm_host_result *result) {
  const int32_t count = api.host_result_count(result);
  Napi::Array arrays = Napi::Array::New(env, static_cast<size_t>(count));
  for (int32_t i = 0; i < count; ++i) {
    const wm_bytes bytes = api.host_result_bytes(result, i);
    Napi::ArrayBuffer buffer = Napi::ArrayBuffer::New(env, bytes.size);
    if (bytes.size > 0) std::memcpy(buffer.Data(), bytes.data, bytes.size);
    arrays.Set(static_cast<uint32_t>(i), Napi::Uint8Array::New(env, bytes.size, buffer, 0));
  }
  return arrays;
}

class HostWorker : public Napi::AsyncWorker {
 public:
  HostWorker(Napi::Env env, Environment &environment, std::string name, Napi::Array arrays, std::vector<double> attrs,
             Napi::Value token)
      : Napi::AsyncWorker(env), environment_(environment), deferred_(env), name_(std::move(name)),
        spans_(spans_of(env, arrays)), attrs_(std::move(attrs)) {
    if (token.IsExternal()) token_ = token.As<Napi::External<wm_token>>().Data();
    Napi::Array held = Napi::Array::New(env, 2);
    held.Set(0u, arrays);
    held.Set(1u, token);
    held_ = Napi::Persistent(held.As<Napi::Object>());
  }
  ~HostWorker() override {
    if (result_ != nullptr) environment_.api().host_result_free(result_);
  }
  Napi::Promise promise() const { return deferred_.Promise(); }

  void Execute() override {
    status_ = environment_.api().host_call(name_.c_str(), spans_.data(), static_cast<int32_t>(spans_.size()), attrs_.data(),
                                           static_cast<int32_t>(attrs_.size()), token_, &result_);
    if (status_ != WM_OK) text_ = environment_.api().last_error();
  }
  void OnOK() override {
    if (status_ == WM_OK) deferred_.Resolve(to_js(Env(), environment_.api(), result_));
    else deferred_.Reject(environment_.make_error(Env(), status_, text_));
  }

 private:
  Environment &environment_;
  Napi::Promise::Deferred deferred_;
  std::string name_;
  std::vector<wm_bytes> spans_;
  std::vector<double> attrs_;
  wm_token *token_ = nullptr;
  Napi::ObjectReference held_;  // the arrays and the token
  wm_host_result *result_ = nullptr;
  wm_status status_ = WM_OK;
  std::string text_;
};

std::vector<double> numbers_of(Napi::Value value) {
  Napi::Float64Array array = value.As<Napi::Float64Array>();
  return std::vector<double>(array.Data(), array.Data() + array.ElementLength());
}

}  // namespace

Napi::Value host(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  Environment &environment = Environment::of(env);
  auto *worker = new HostWorker(env, environment, info[0].As<Napi::String>().Utf8Value(), info[1].As<Napi::Array>(),
                                numbers_of(info[2]), info[3]);
  Napi::Promise promise = worker->promise();
  worker->Queue();
  return promise;
}

Napi::Value host_sync(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  Environment &environment = Environment::of(env);
  const std::string name = info[0].As<Napi::String>().Utf8Value();
  const std::vector<wm_bytes> spans = spans_of(env, info[1].As<Napi::Array>());
  const std::vector<double> attrs = numbers_of(info[2]);
  wm_host_result *made = nullptr;
  environment.check(env, environment.api().host_call(name.c_str(), spans.data(), static_cast<int32_t>(spans.size()),
                                                     attrs.data(), static_cast<int32_t>(attrs.size()), nullptr, &made));
  // Making JS arrays throws where memory is short.
  const std::unique_ptr<wm_host_result, void (*)(wm_host_result *)> result(made, environment.api().host_result_free);
  return to_js(env, environment.api(), result.get());
}

}  // namespace wm_napi
