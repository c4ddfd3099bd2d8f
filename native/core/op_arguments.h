// The arguments of an op, as the kernels of the CPU (op.h) and the launchers of a device (cuda/core/op.h) both receive them:
// what checks a call is written once, against this.
#pragma once

#include <cmath>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <string>

#include "native/core/status.h"
#include "native/core/tensor_view.h"

namespace wm {

class OpArguments {
 public:
  OpArguments(const OpArguments &) = delete;
  OpArguments &operator=(const OpArguments &) = delete;

  const char *name() const { return name_; }
  int num_inputs() const { return num_inputs_; }
  int num_outputs() const { return num_outputs_; }

  const TensorView &in(int i) const {
    if (i < 0 || i >= num_inputs_ || !inputs_[i].present()) reject("input %d is missing", i);
    return inputs_[i];
  }
  bool has(int i) const { return i < num_inputs_ && inputs_[i].present(); }
  const TensorView &out(int i) const {
    if (i < 0 || i >= num_outputs_) reject("output %d is missing", i);
    return outputs_[i];
  }

  double attr(int i) const {
    if (i < 0 || i >= num_attrs_) reject("attribute %d is missing", i);
    return attrs_[i];
  }
  // Throws Status::option where the number is not exact in a double: beyond 64 bits the conversion is undefined.
  int64_t attr_int(int i) const {
    constexpr double kLimit = 9007199254740992.0;
    const double value = attr(i);
    if (!(value >= -kLimit && value <= kLimit)) reject("attribute %d must be a whole number up to 2^53, got %g", i, value);
    return static_cast<int64_t>(value);
  }
  bool attr_flag(int i) const { return attr(i) != 0.0; }

  // Throws Status::option with the op's name in front.
  [[noreturn]] __attribute__((format(printf, 2, 3))) void reject(const char *format, ...) const {
    char text[896];
    va_list args;
    va_start(args, format);
    std::vsnprintf(text, sizeof text, format, args);
    va_end(args);
    throw Error(Status::option, std::string(name_) + ": " + text);
  }
  [[noreturn]] void reject(const std::string &text) const { reject("%s", text.c_str()); }

 protected:
  OpArguments(const char *name, const TensorView *inputs, int num_inputs, const TensorView *outputs, int num_outputs,
              const double *attrs, int num_attrs)
      : name_(name), inputs_(inputs), outputs_(outputs), attrs_(attrs), num_inputs_(num_inputs),
        num_outputs_(num_outputs), num_attrs_(num_attrs) {}
  ~OpArguments() = default;

 private:
  const char *name_;
  const TensorView *inputs_;
  const TensorView *outputs_;
  const double *attrs_;
  int num_inputs_, num_outputs_, num_attrs_;
};

// Calls body with an unsigned integer as wide as the dtype's elements: for ops that move them without looking.
template <class F>
void dispatch_size(const OpArguments &call, DType dtype, F &&body) {
  switch (dtype_size(dtype)) {
    case 1: return body(uint8_t{});
    case 2: return body(uint16_t{});
    case 4: return body(uint32_t{});
    case 8: return body(uint64_t{});
    default: call.reject("unknown dtype %d", static_cast<int>(dtype));
  }
}

}  // namespace wm
