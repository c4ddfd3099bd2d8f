// The add-on: argument decoding, handles and promises. No arithmetic.
#include <napi.h>

#include <string>
#include <vector>

#include "native/napi/devices.h"
#include "native/napi/environment.h"
#include "native/napi/host_calls.h"
#include "native/napi/meta_reader.h"
#include "native/napi/programs.h"
#include "native/napi/sharing.h"
#include "native/napi/storage_object.h"

namespace wm_napi {

namespace {

uint64_t byte_count(Napi::Env env, const char *what, Napi::Value value) {
  const int64_t count = whole_number(env, what, value.As<Napi::Number>().DoubleValue());
  if (count < 0) Environment::of(env).throw_error(env, WM_ERR_USAGE, std::string(what) + " must not be negative, got " + std::to_string(count));
  return static_cast<uint64_t>(count);
}

wm_token *token_of(Napi::Value value) {
  return value.IsExternal() ? value.As<Napi::External<wm_token>>().Data() : nullptr;
}

// run(op, storages, meta, attrs, numOutputs, token | null, device) -> Storage[]. Here and below, `device` is a number of
// openDevice, 0 the CPU.
Napi::Value run(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  Environment &environment = Environment::of(env);
  const std::string op = info[0].As<Napi::String>().Utf8Value();
  Napi::Array storages = info[1].As<Napi::Array>();
  MetaReader meta(env, info[2]);
  Napi::Float64Array attrs = info[3].As<Napi::Float64Array>();
  const auto num_outputs = static_cast<size_t>(info[4].As<Napi::Number>().Uint32Value());
  std::vector<wm_view> inputs;
  for (uint32_t i = 0; i < storages.Length(); ++i) inputs.push_back(meta.view(storages.Get(i)));
  std::vector<wm_spec> outputs;
  for (size_t i = 0; i < num_outputs; ++i) outputs.push_back(meta.spec());
  std::vector<wm_storage *> made(num_outputs, nullptr);
  const Environment::Device &device = environment.device(env, info[6]);
  environment.check(env,
                    environment.api().run(device.executor, op.c_str(), inputs.data(), static_cast<int32_t>(inputs.size()),
                                          attrs.Data(), static_cast<int32_t>(attrs.ElementLength()), outputs.data(),
                                          static_cast<int32_t>(num_outputs), token_of(info[5]), made.data()),
                    device.name);
  return StorageObject::wrap_all(env, made);
}

// fromHost(typedArray, device) -> Storage; copies now.
Napi::Value from_host(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  Environment &environment = Environment::of(env);
  const wm_bytes bytes = bytes_of(env, info[0]);
  wm_storage *storage = nullptr;
  const Environment::Device &device = environment.device(env, info[1]);
  environment.check(env, environment.api().storage_from_host(device.executor, bytes.data, bytes.size, &storage), device.name);
  return StorageObject::wrap(env, storage);
}

// lend(typedArray, device) -> Storage over the array's own bytes; nobody may change or transfer it any more.
Napi::Value lend(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  Environment &environment = Environment::of(env);
  const wm_bytes bytes = bytes_of(env, info[0]);
  const Environment::Device &device = environment.device(env, info[1]);
  auto *loan = new LoanSettlement(environment, info[0].As<Napi::Object>());
  wm_storage *storage = nullptr;
  const wm_status status = environment.api().storage_from_external(device.executor, const_cast<void *>(bytes.data), bytes.size,
                                                                   LoanSettlement::released, loan, &storage);
  if (status != WM_OK) delete loan;
  environment.check(env, status, device.name);
  return StorageObject::wrap(env, storage);
}

// mapFile(path) -> External; fromMapped(external, offset, bytes, elementBytes, device) -> Storage; mappedSize(external)
Napi::Value map_file(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  Environment &environment = Environment::of(env);
  wm_mapped *mapped = nullptr;
  environment.check(env, environment.api().mapped_open(info[0].As<Napi::String>().Utf8Value().c_str(), &mapped));
  const wm_api *api = &environment.api();
  return Napi::External<wm_mapped>::New(env, mapped, [api](Napi::BasicEnv, wm_mapped *handle) { api->mapped_free(handle); });
}

Napi::Value mapped_size(const Napi::CallbackInfo &info) {
  wm_mapped *mapped = info[0].As<Napi::External<wm_mapped>>().Data();
  return Napi::Number::New(info.Env(), static_cast<double>(Environment::of(info.Env()).api().mapped_size(mapped)));
}

Napi::Value from_mapped(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  Environment &environment = Environment::of(env);
  wm_storage *storage = nullptr;
  const Environment::Device &device = environment.device(env, info[4]);
  environment.check(env, environment.api().storage_from_mapped(
                             device.executor, info[0].As<Napi::External<wm_mapped>>().Data(),
                             byte_count(env, "fromMapped: the offset", info[1]), byte_count(env, "fromMapped: the size", info[2]),
                             static_cast<uint32_t>(byte_count(env, "fromMapped: the element size", info[3])), &storage));
  return StorageObject::wrap(env, storage);
}

// transfer(storage, meta, from, to) -> Storage: a contiguous copy on another device.
Napi::Value transfer(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  Environment &environment = Environment::of(env);
  const wm_view view = MetaReader(env, info[1]).view(info[0]);
  const Environment::Device &from = environment.device(env, info[2]), &to = environment.device(env, info[3]);
  wm_storage *storage = nullptr;
  environment.check(env, environment.api().transfer(from.executor, &view, to.executor, &storage), to.name);
  return StorageObject::wrap(env, storage);
}

// read(storage, meta, buffer, device) -> Promise<ArrayBuffer>. The buffer comes from JS: allocating one here aborts the process when
// memory is short, there it throws.
Napi::Value read(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  Environment &environment = Environment::of(env);
  const wm_view view = MetaReader(env, info[1]).view(info[0]);
  Napi::ArrayBuffer buffer = info[2].As<Napi::ArrayBuffer>();
  const size_t bytes = buffer.ByteLength();
  const Environment::Device &device = environment.device(env, info[3]);
  auto *settlement = new PromiseSettlement(environment, env, buffer, device.name);
  Napi::Promise promise = settlement->promise();
  environment.expect(env);
  settlement->started(
      environment.api().read(device.executor, &view, buffer.Data(), bytes, PromiseSettlement::done, settlement));
  return promise;
}

// readSync(storage, meta, buffer, device) -> ArrayBuffer; waits on this thread.
Napi::Value read_sync(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  Environment &environment = Environment::of(env);
  const wm_view view = MetaReader(env, info[1]).view(info[0]);
  Napi::ArrayBuffer buffer = info[2].As<Napi::ArrayBuffer>();
  const size_t bytes = buffer.ByteLength();
  struct Outcome {
    wm_status status;
    std::string text;
  } outcome{WM_OK, ""};
  const wm_done done = [](void *user, wm_status status, const char *text) {
    auto *result = static_cast<Outcome *>(user);
    result->status = status;
    if (text != nullptr) result->text = text;
  };
  const Environment::Device &device = environment.device(env, info[3]);
  environment.check(env, environment.api().read(device.executor, &view, buffer.Data(), bytes, done, &outcome), device.name);
  environment.check(env, environment.api().synchronise(device.executor), device.name);
  if (outcome.status != WM_OK) environment.throw_error(env, outcome.status, outcome.text, device.name);
  return buffer;
}

// fence(device) -> Promise<undefined>
Napi::Value fence(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  Environment &environment = Environment::of(env);
  const Environment::Device &device = environment.device(env, info[0]);
  auto *settlement = new PromiseSettlement(environment, env, Napi::Object::New(env), device.name);
  Napi::Promise promise = settlement->promise();
  environment.expect(env);
  settlement->started(environment.api().fence(device.executor, PromiseSettlement::done, settlement));
  return promise;
}

void synchronise(const Napi::CallbackInfo &info) {
  Environment &environment = Environment::of(info.Env());
  const Environment::Device &device = environment.device(info.Env(), info[0]);
  environment.check(info.Env(), environment.api().synchronise(device.executor), device.name);
}

Napi::Value token_create(const Napi::CallbackInfo &info) {
  const wm_api *api = &Environment::of(info.Env()).api();
  return Napi::External<wm_token>::New(info.Env(), api->token_create(),
                                       [api](Napi::BasicEnv, wm_token *token) { api->token_free(token); });
}

void token_cancel(const Napi::CallbackInfo &info) {
  Environment::of(info.Env()).api().token_cancel(info[0].As<Napi::External<wm_token>>().Data());
}

Napi::Value threads(const Napi::CallbackInfo &info) {
  Environment &environment = Environment::of(info.Env());
  if (info[0].IsNumber()) environment.api().set_threads(info[0].As<Napi::Number>().Int32Value());
  return Napi::Number::New(info.Env(), environment.api().threads());
}

Napi::Value ops(const Napi::CallbackInfo &info) {
  const wm_api &api = Environment::of(info.Env()).api();
  Napi::Array names = Napi::Array::New(info.Env());
  for (int32_t i = 0; i < api.op_count(); ++i) names.Set(static_cast<uint32_t>(i), api.op_name(i));
  return names;
}

Napi::Value cpu_tier(const Napi::CallbackInfo &info) {
  return Napi::String::New(info.Env(), Environment::of(info.Env()).api().cpu_tier());
}

// capi() -> type-tagged External with the function table, for other add-ons.
Napi::Value capi(const Napi::CallbackInfo &info) {
  const napi_type_tag tag = {WM_API_TAG_LOWER, WM_API_TAG_UPPER};
  auto external = Napi::External<wm_api>::New(info.Env(), const_cast<wm_api *>(&Environment::of(info.Env()).api()));
  external.TypeTag(&tag);
  return external;
}

// init(errorFactory: (status, text) => Error): must be the first call in an environment.
Napi::Value init(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  Napi::Object exports = Napi::Object::New(env);
  auto *environment = new Environment(env, info[0].As<Napi::Function>());
  env.SetInstanceData(environment);
  StorageObject::define(env, exports, *environment);
  const auto add = [&](const char *name, auto function) { exports.Set(name, Napi::Function::New(env, function, name)); };
  add("run", run);
  add("fromHost", from_host);
  add("lend", lend);
  add("mapFile", map_file);
  add("mappedSize", mapped_size);
  add("fromMapped", from_mapped);
  add("transfer", transfer);
  add("read", read);
  add("readSync", read_sync);
  add("fence", fence);
  add("synchronise", synchronise);
  add("tokenCreate", token_create);
  add("tokenCancel", token_cancel);
  add("memory", memory);
  add("memoryTrim", memory_trim);
  add("memoryResetPeak", memory_reset_peak);
  add("openDevice", open_device);
  add("deviceReport", device_report);
  add("deviceHasOp", device_has_op);
  add("threads", threads);
  add("ops", ops);
  add("cpuTier", cpu_tier);
  add("host", host);
  add("hostSync", host_sync);
  add("backendReport", backend_report);
  add("exportDlpack", export_dlpack);
  add("dlpackDevice", dlpack_device);
  add("importDlpack", import_dlpack);
  add("handle", handle);
  add("programBegin", program_begin);
  add("programOp", program_op);
  add("programEnd", program_end);
  add("programRun", program_run);
  add("programBytes", program_bytes);
  add("programFree", program_free);
  add("capi", capi);
  return exports;
}

Napi::Object load(Napi::Env env, Napi::Object exports) {
  exports.Set("init", Napi::Function::New(env, init, "init"));
  return exports;
}

}  // namespace

}  // namespace wm_napi

static Napi::Object register_module(Napi::Env env, Napi::Object exports) { return wm_napi::load(env, exports); }
NODE_API_MODULE(wordmask, register_module)
