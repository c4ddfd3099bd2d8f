#include "native/napi/programs.h"

#include <memory>
#include <string>
#include <vector>

#include "native/napi/environment.h"
#include "native/napi/meta_reader.h"
#include "native/napi/storage_object.h"

namespace wm_napi {

namespace {

// What the External holds; `program` is null once it was freed.
struct ProgramBox {
  const wm_api *api;
  wm_program *program;
  std::string device;
  size_t outputs = 0;
  ~ProgramBox() { api->program_free(program); }
};

ProgramBox &box_of(const Napi::CallbackInfo &info) {
  auto *box = info[0].As<Napi::External<ProgramBox>>().Data();
  if (box->program == nullptr) Environment::of(info.Env()).throw_error(info.Env(), WM_ERR_DISPOSED, "the program was disposed");
  return *box;
}

std::vector<wm_view> views_of(Napi::Env env, Napi::Value storages, Napi::Value numbers) {
  Napi::Array list = storages.As<Napi::Array>();
  MetaReader meta(env, numbers);
  std::vector<wm_view> views;
  for (uint32_t i = 0; i < list.Length(); ++i) views.push_back(meta.view(list.Get(i)));
  return views;
}

wm_token *token_of(Napi::Value value) {
  return value.IsExternal() ? value.As<Napi::External<wm_token>>().Data() : nullptr;
}

}  // namespace

// programBegin(name, storages, meta, device) -> External
Napi::Value program_begin(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  Environment &environment = Environment::of(env);
  const std::string name = info[0].As<Napi::String>().Utf8Value();
  const std::vector<wm_view> inputs = views_of(env, info[1], info[2]);
  const Environment::Device &device = environment.device(env, info[3]);
  auto box = std::make_unique<ProgramBox>(ProgramBox{&environment.api(), nullptr, device.name});
  environment.check(env, environment.api().program_begin(device.executor, name.c_str(), inputs.data(),
                                                         static_cast<int32_t>(inputs.size()), &box->program),
                    device.name);
  return Napi::External<ProgramBox>::New(env, box.release(), [](Napi::BasicEnv, ProgramBox *held) { delete held; });
}

// programOp(program, op, storages, meta, attrs, numOutputs, token | null) -> Storage[]
Napi::Value program_op(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  Environment &environment = Environment::of(env);
  ProgramBox &box = box_of(info);
  const std::string op = info[1].As<Napi::String>().Utf8Value();
  Napi::Array storages = info[2].As<Napi::Array>();
  MetaReader meta(env, info[3]);
  Napi::Float64Array attrs = info[4].As<Napi::Float64Array>();
  std::vector<wm_view> inputs;
  for (uint32_t i = 0; i < storages.Length(); ++i) inputs.push_back(meta.view(storages.Get(i)));
  std::vector<wm_spec> outputs;
  for (uint32_t i = 0; i < info[5].As<Napi::Number>().Uint32Value(); ++i) outputs.push_back(meta.spec());
  std::vector<wm_storage *> made(outputs.size(), nullptr);
  environment.check(env,
                    environment.api().program_op(box.program, op.c_str(), inputs.data(), static_cast<int32_t>(inputs.size()),
                                                 attrs.Data(), static_cast<int32_t>(attrs.ElementLength()), outputs.data(),
                                                 static_cast<int32_t>(outputs.size()), token_of(info[6]), made.data()),
                    box.device);
  return StorageObject::wrap_all(env, made);
}

// programEnd(program, storages, meta)
void program_end(const Napi::CallbackInfo &info) {
  Environment &environment = Environment::of(info.Env());
  ProgramBox &box = box_of(info);
  const std::vector<wm_view> outputs = views_of(info.Env(), info[1], info[2]);
  environment.check(info.Env(),
                    environment.api().program_end(box.program, outputs.data(), static_cast<int32_t>(outputs.size())), box.device);
  box.outputs = outputs.size();
}

// programRun(program, storages, meta, token | null) -> Storage[]
Napi::Value program_run(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  Environment &environment = Environment::of(env);
  ProgramBox &box = box_of(info);
  const std::vector<wm_view> inputs = views_of(env, info[1], info[2]);
  std::vector<wm_storage *> made(box.outputs, nullptr);
  environment.check(env,
                    environment.api().program_run(box.program, inputs.data(), static_cast<int32_t>(inputs.size()),
                                                  token_of(info[3]), made.data()),
                    box.device);
  return StorageObject::wrap_all(env, made);
}

// programBytes(program) -> number
Napi::Value program_bytes(const Napi::CallbackInfo &info) {
  ProgramBox &box = box_of(info);
  return Napi::Number::New(info.Env(), static_cast<double>(box.api->program_bytes(box.program)));
}

// programFree(program); harmless twice.
void program_free(const Napi::CallbackInfo &info) {
  auto *box = info[0].As<Napi::External<ProgramBox>>().Data();
  box->api->program_free(box->program);
  box->program = nullptr;
}

}  // namespace wm_napi
