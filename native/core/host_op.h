// Plain algorithms on byte arrays that never run on a device (PNG rows, run lengths, contours, assignment).
// They are called through the add-on's generic host() / hostSync() with typed arrays in, byte arrays out, off the
// event loop unless the caller asks for the synchronous form. Outputs may have any size.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "native/core/op.h"

namespace wm {

struct ByteSpan {
  const uint8_t *data;
  size_t size;
  template <class T>
  const T *as() const {
    return reinterpret_cast<const T *>(data);
  }
  template <class T>
  size_t count() const {
    return size / sizeof(T);
  }
};

struct HostCall {
  std::vector<ByteSpan> inputs;
  std::vector<double> attrs;
  std::vector<std::vector<uint8_t>> outputs;
  const CancelToken *cancel = nullptr;
};

using HostFunction = void (*)(HostCall &);

struct HostEntry {
  const char *name;
  HostFunction function;
};

const HostEntry *find_host_op(const char *name);
std::vector<const HostEntry *> list_host_ops();
void register_host_op(const HostEntry *entry);

struct HostOpRegistration {
  explicit HostOpRegistration(const HostEntry *entry) { register_host_op(entry); }
};

#define WM_REGISTER_HOST_OP(op_name, function)                                  \
  static const ::wm::HostEntry wm_host_entry_##op_name = {#op_name, function};  \
  static const ::wm::HostOpRegistration wm_host_registration_##op_name(&wm_host_entry_##op_name);

}  // namespace wm
