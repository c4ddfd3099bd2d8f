#include "native/napi/devices.h"

#include <string>

#include "native/napi/environment.h"

namespace wm_napi {

// openDevice(name) -> number. Throws E_DEVICE with what was found and what to do.
Napi::Value open_device(const Napi::CallbackInfo &info) {
  Environment &environment = Environment::of(info.Env());
  return Napi::Number::New(info.Env(), environment.open_device(info.Env(), info[0].As<Napi::String>().Utf8Value()));
}

// deviceReport(name, selfTest) -> what the device says of itself; with selfTest it is opened and tested.
Napi::Value device_report(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  Environment &environment = Environment::of(env);
  const std::string name = info[0].As<Napi::String>().Utf8Value();
  wm_device_report report{};
  environment.check(env, environment.api().device_report(name.c_str(), &report), name);
  Napi::Object object = Napi::Object::New(env);
  object.Set("title", report.title);
  object.Set("capability", std::to_string(report.capability_major) + "." + std::to_string(report.capability_minor));
  object.Set("multiprocessors", report.multiprocessors);
  object.Set("driverVersion", report.driver_version);
  object.Set("runtimeVersion", report.runtime_version);
  object.Set("totalBytes", static_cast<double>(report.total_bytes));
  object.Set("freeBytes", static_cast<double>(report.free_bytes));
  bool usable = report.usable != 0;
  std::string reason = report.reason;
  const std::string remedy = report.remedy;
  if (usable && info[1].ToBoolean() && environment.api().device_open(name.c_str()) != WM_OK) {
    usable = false;
    reason = environment.api().last_error();
  }
  object.Set("usable", usable);
  object.Set("reason", reason);
  object.Set("remedy", remedy);
  return object;
}

// deviceHasOp(device, op) -> boolean, of an opened device's number
Napi::Value device_has_op(const Napi::CallbackInfo &info) {
  Environment &environment = Environment::of(info.Env());
  const std::string &device = environment.device(info.Env(), info[0]).name;
  const std::string op = info[1].As<Napi::String>().Utf8Value();
  return Napi::Boolean::New(info.Env(), environment.api().device_has_op(device.c_str(), op.c_str()) != 0);
}

// backendReport(name, folder) -> { usable, devices, step, reason, remedy }
Napi::Value backend_report(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  Environment &environment = Environment::of(env);
  wm_backend_report report{};
  environment.check(env, environment.api().backend_report(info[0].As<Napi::String>().Utf8Value().c_str(),
                                                          info[1].As<Napi::String>().Utf8Value().c_str(), &report));
  Napi::Object object = Napi::Object::New(env);
  object.Set("usable", report.usable != 0);
  object.Set("devices", report.devices);
  object.Set("step", report.step);
  object.Set("reason", report.reason);
  object.Set("remedy", report.remedy);
  return object;
}

// memory(device) -> { liveBytes, cachedBytes, peakBytes }
Napi::Value memory(const Napi::CallbackInfo &info) {
  wm_memory stats;
  Environment &environment = Environment::of(info.Env());
  const std::string &device = environment.device(info.Env(), info[0]).name;
  if (device == "cpu") environment.api().memory(&stats);
  else environment.check(info.Env(), environment.api().device_memory(device.c_str(), &stats), device);
  Napi::Object object = Napi::Object::New(info.Env());
  object.Set("liveBytes", static_cast<double>(stats.live_bytes));
  object.Set("cachedBytes", static_cast<double>(stats.cached_bytes));
  object.Set("peakBytes", static_cast<double>(stats.peak_bytes));
  return object;
}

// memoryTrim(device), memoryResetPeak(device)
void memory_trim(const Napi::CallbackInfo &info) {
  Environment &environment = Environment::of(info.Env());
  const std::string &device = environment.device(info.Env(), info[0]).name;
  if (device == "cpu") environment.api().memory_trim();
  else environment.check(info.Env(), environment.api().device_trim(device.c_str()), device);
}

void memory_reset_peak(const Napi::CallbackInfo &info) {
  Environment &environment = Environment::of(info.Env());
  const std::string &device = environment.device(info.Env(), info[0]).name;
  if (device == "cpu") environment.api().memory_reset_peak();
  else environment.check(info.Env(), environment.api().device_reset_peak(device.c_str()), device);
}

}  // namespace wm_napi
