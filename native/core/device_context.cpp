#include "native/core/device_context.h"

#include <dlfcn.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>

#include "native/core/backend_loader.h"

namespace wm {

namespace {

struct DeviceName {
  std::string kind;
  int32_t index;
};

DeviceName parse(const std::string &device) {
  const size_t colon = device.find(':');
  DeviceName name{device.substr(0, colon), 0};
  if (colon == std::string::npos) return name;
  const std::string digits = device.substr(colon + 1);
  if (digits.empty() || digits.size() > 3 || digits.find_first_not_of("0123456789") != std::string::npos) {
    fail(Status::device, "no device '%s': a device is named like cuda:0", device.c_str());
  }
  name.index = std::atoi(digits.c_str());
  return name;
}

const char *last_error(const wm_backend &table) {
  const char *text = table.last_error != nullptr ? table.last_error() : nullptr;
  return text != nullptr && *text != '\0' ? text : "no reason given";
}

// Whether the table reaches as far as its last entry and offers what an executor cannot do without.
bool complete(const wm_backend &table) {
  return table.size >= offsetof(wm_backend, op_launch) + sizeof table.op_launch && table.device_info != nullptr &&
         table.context_create != nullptr && table.context_free != nullptr && table.self_test != nullptr &&
         table.stream_create != nullptr && table.stream_free != nullptr && table.stream_synchronise != nullptr &&
         table.event_create != nullptr && table.event_free != nullptr && table.event_record != nullptr &&
         table.stream_wait != nullptr && table.event_synchronise != nullptr && table.memory_alloc != nullptr &&
         table.memory_release != nullptr && table.memory_trim != nullptr && table.memory_stats != nullptr &&
         table.host_alloc != nullptr && table.host_free != nullptr && table.copy_in != nullptr &&
         table.copy_out != nullptr && table.op_find != nullptr && table.op_launch != nullptr;
}

const wm_backend &open_table(const DeviceName &name, std::string &remedy) {
  const BackendStatus status = load_backend(name.kind.c_str(), own_folder().c_str());
  if (status.table == nullptr) {
    remedy = status.remedy;
    throw Error(Status::device, status.reason);
  }
  if (!complete(*status.table)) {
    remedy = "add-on and module must come from one version: reinstall, or `npm run build`";
    fail(Status::device, "the %s module lacks functions that this version needs", name.kind.c_str());
  }
  return *status.table;
}

void ask(const DeviceName &name, DeviceReport &report) {
  const wm_backend &table = open_table(name, report.remedy);
  int32_t count = 0;
  if (table.device_count(&count) != WM_OK) fail(Status::device, "the devices cannot be counted: %s", last_error(table));
  if (name.index >= count) {
    report.remedy = "name one of those, or see whether CUDA_VISIBLE_DEVICES hides it";
    fail(Status::device, "there is no device of that number: %d found, counted from 0", count);
  }
  report.info.size = sizeof report.info;
  if (table.device_info(name.index, &report.info) != WM_OK) throw Error(Status::device, last_error(table));
  if (!report.info.usable) {
    report.remedy = "use another device, or device 'cpu'";
    throw Error(Status::device, report.info.reason);
  }
}

std::mutex &mutex() {
  static auto *one = new std::mutex();
  return *one;
}

// Never destroyed, like the modules themselves: a driver's state would not survive it.
std::map<std::string, std::unique_ptr<DeviceContext>> &opened() {
  static auto *all = new std::map<std::string, std::unique_ptr<DeviceContext>>();
  return *all;
}

std::string full_name(const DeviceName &name) { return name.kind + ":" + std::to_string(name.index); }

}  // namespace

std::string own_folder() {
  Dl_info info{};
  static const char here = 0;
  if (dladdr(&here, &info) == 0 || info.dli_fname == nullptr) return ".";
  const std::string file = info.dli_fname;
  const size_t slash = file.rfind('/');
  return slash == std::string::npos ? "." : file.substr(0, slash);
}

DeviceReport report_device(const std::string &device) {
  DeviceReport report;
  try {
    ask(parse(device), report);
  } catch (const Error &error) {
    report.info.usable = 0;
    report.reason = error.what();
  }
  return report;
}

DeviceContext *DeviceContext::find(const std::string &device) {
  std::lock_guard<std::mutex> lock(mutex());
  const auto found = opened().find(full_name(parse(device)));
  return found == opened().end() ? nullptr : found->second.get();
}

DeviceContext &DeviceContext::open(const std::string &device) {
  const DeviceName name = parse(device);
  const std::string full = full_name(name);
  std::lock_guard<std::mutex> lock(mutex());
  const auto found = opened().find(full);
  if (found != opened().end()) return *found->second;
  const DeviceReport report = report_device(device);
  if (report.info.usable == 0) {
    fail(Status::device, "device %s cannot be used: %s%s%s", device.c_str(), report.reason.c_str(),
         report.remedy.empty() ? "" : ". ", report.remedy.c_str());
  }
  std::string remedy;
  const wm_backend &table = open_table(name, remedy);
  wm_context *context = nullptr;
  wm_status status = table.context_create(name.index, &context);
  if (status != WM_OK) {
    fail(status == WM_ERR_MEMORY ? Status::memory : Status::device,
         "device %s cannot be opened: %s. See whether another process holds its memory (`nvidia-smi`)", full.c_str(),
         last_error(table));
  }
  status = table.self_test(context);
  if (status != WM_OK) {
    const std::string text = last_error(table);
    table.context_free(context);
    fail(status == WM_ERR_MEMORY ? Status::memory : Status::device, "device %s fails its self-test: %s", full.c_str(),
         text.c_str());
  }
  auto &slot = opened()[full];
  slot.reset(new DeviceContext(full, &table, context));
  return *slot;
}

void DeviceContext::check(wm_status status, const char *what) const {
  if (status == WM_OK) return;
  throw Error(static_cast<Status>(status), std::string(what) + ": " + name_ + ": " + last_error(*table_));
}

}  // namespace wm
