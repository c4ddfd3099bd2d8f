// Checked access to the arguments of a host algorithm. Sizes come from files and users: every one has a limit
// here, and every array must have exactly the size the attributes say.
#pragma once

#include <cmath>
#include <cstring>

#include "native/core/host_op.h"

namespace wm {

// Pixels of one map: far above the image limit of the package, low enough that byte counts never overflow.
constexpr int64_t kMaxHostPixels = int64_t{1} << 31;

inline int64_t host_int(const HostCall &call, size_t index, const char *name, int64_t low, int64_t high) {
  const double value = index < call.attrs.size() ? call.attrs[index] : std::nan("");
  if (!(value >= static_cast<double>(low) && value <= static_cast<double>(high)) ||
      value != std::floor(value)) {
    fail(Status::option, "%s must be a whole number in %lld..%lld, got %g", name, static_cast<long long>(low),
         static_cast<long long>(high), value);
  }
  return static_cast<int64_t>(value);
}

struct MapSize {
  int64_t height, width;
  int64_t pixels() const { return height * width; }
};

inline MapSize host_size(const HostCall &call, size_t first_attr) {
  const MapSize size{host_int(call, first_attr, "height", 0, int64_t{1} << 31),
                     host_int(call, first_attr + 1, "width", 0, int64_t{1} << 31)};
  if (size.width > 0 && size.height > kMaxHostPixels / size.width) {
    fail(Status::option, "a map of %lld x %lld is over the limit of %lld pixels",
         static_cast<long long>(size.height), static_cast<long long>(size.width),
         static_cast<long long>(kMaxHostPixels));
  }
  return size;
}

// `count` values of T; pass a negative count for any number of them.
template <class T>
const T *host_array(const HostCall &call, size_t index, const char *name, int64_t count) {
  if (index >= call.inputs.size()) fail(Status::usage, "%s is missing", name);
  const ByteSpan span = call.inputs[index];
  const bool whole = span.size % sizeof(T) == 0 && reinterpret_cast<uintptr_t>(span.data) % alignof(T) == 0;
  if (!whole || (count >= 0 && span.size != static_cast<size_t>(count) * sizeof(T))) {
    fail(Status::option, "%s must hold %lld values of %zu bytes, got %zu bytes", name,
         static_cast<long long>(count), sizeof(T), span.size);
  }
  return span.as<T>();
}

// A new output of `count` zeroed values of T.
template <class T>
T *host_output(HostCall &call, int64_t count) {
  call.outputs.emplace_back(static_cast<size_t>(count) * sizeof(T));
  return reinterpret_cast<T *>(call.outputs.back().data());
}

template <class T>
void host_output(HostCall &call, const std::vector<T> &values) {
  T *to = host_output<T>(call, static_cast<int64_t>(values.size()));
  if (!values.empty()) std::memcpy(to, values.data(), values.size() * sizeof(T));
}

// Calls body with a pointer to the map's unsigned samples of 1, 2 or 4 bytes.
template <class F>
void with_samples(const HostCall &call, size_t index, const char *name, int64_t bytes, int64_t count,
                  F &&body) {
  switch (bytes) {
    case 1: return body(host_array<uint8_t>(call, index, name, count));
    case 2: return body(host_array<uint16_t>(call, index, name, count));
    case 4: return body(host_array<uint32_t>(call, index, name, count));
    default:
      fail(Status::option, "%s must have samples of 1, 2 or 4 bytes, got %lld", name,
           static_cast<long long>(bytes));
  }
}

// Reads the abort flag; call it now and then in long loops.
inline void host_check_cancelled(const HostCall &call) {
  if (call.cancel != nullptr && call.cancel->cancelled()) fail(Status::aborted, "the call was aborted");
}

}  // namespace wm
