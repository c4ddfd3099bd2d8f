// Failures inside the core: one exception type that carries the status code the C ABI will return.
#pragma once

#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <stdexcept>
#include <string>

namespace wm {

// Mirrors wm_status in include/wordmask.h.
enum class Status : int32_t {
  ok = 0,
  usage = 1,       // wrong argument at the C border
  option = 2,      // op called with shapes, dtypes or attributes it cannot take
  memory = 3,      // allocation failed
  device = 4,      // device missing or unusable
  device_lost = 5,
  aborted = 6,     // the call's token was cancelled
  numeric = 7,
  io = 8,
  disposed = 9,
  internal = 10,
};

class Error : public std::runtime_error {
 public:
  Error(Status status, const std::string &text) : std::runtime_error(text), status_(status) {}
  Status status() const { return status_; }

 private:
  Status status_;
};

// printf into a string.
__attribute__((format(printf, 1, 2))) inline std::string format_text(const char *format, ...) {
  char text[768];
  va_list args;
  va_start(args, format);
  std::vsnprintf(text, sizeof text, format, args);
  va_end(args);
  return text;
}

// printf-style throw; the text names the argument, the value seen and the limit.
[[noreturn]] __attribute__((format(printf, 2, 3))) inline void fail(Status status, const char *format, ...) {
  char text[1024];
  va_list args;
  va_start(args, format);
  std::vsnprintf(text, sizeof text, format, args);
  va_end(args);
  throw Error(status, text);
}

}  // namespace wm
