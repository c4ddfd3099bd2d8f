// Views as they travel between JS and the add-on: numbers in one Float64Array. Input: ndim (-1 = not given), then dtype,
// offset, shape, strides. Output: ndim, dtype, shape. All integers, exact in a double.
#pragma once

#include <cmath>
#include <cstdio>
#include <string>

#include "native/napi/environment.h"
#include "native/napi/storage_object.h"

namespace wm_napi {

// Numbers beyond 2^53 are no longer exact in a double, and out of an integer's range the conversion is undefined.
inline int64_t whole_number(Napi::Env env, const char *what, double value) {
  constexpr double kLimit = 9007199254740992.0;
  if (!(value > -kLimit && value < kLimit) || value != std::floor(value)) {
    char text[160];
    std::snprintf(text, sizeof text, "%s must be a whole number up to 2^53, got %g", what, value);
    Environment::of(env).throw_error(env, WM_ERR_USAGE, text);
  }
  return static_cast<int64_t>(value);
}

class MetaReader {
 public:
  MetaReader(Napi::Env env, Napi::Value value) : env_(env), array_(value.As<Napi::Float64Array>()) {}

  wm_view view(Napi::Value storage) {
    wm_view result{};
    result.ndim = rank(-1);
    if (result.ndim < 0) return result;
    result.storage = StorageObject::unwrap(env_, storage);
    result.dtype = dtype();
    result.offset = next();
    for (int i = 0; i < result.ndim; ++i) result.shape[i] = next();
    for (int i = 0; i < result.ndim; ++i) result.stride[i] = next();
    return result;
  }

  wm_spec spec() {
    wm_spec result{};
    result.ndim = rank(0);
    result.dtype = dtype();
    for (int i = 0; i < result.ndim; ++i) result.shape[i] = next();
    return result;
  }

 private:
  int64_t next() {
    if (position_ >= array_.ElementLength()) Environment::of(env_).throw_error(env_, WM_ERR_USAGE, "view description is too short");
    return whole_number(env_, "a number of a view description", array_[position_++]);
  }
  int32_t rank(int64_t lowest) {
    const int64_t value = next();
    if (value < lowest || value > WM_MAX_DIMS) {
      Environment::of(env_).throw_error(env_, WM_ERR_OPTION, "a tensor has at most 8 dimensions, got " + std::to_string(value));
    }
    return static_cast<int32_t>(value);
  }
  int32_t dtype() {
    const int64_t value = next();
    // The C function says which numbers are dtypes; here it only must not change on its way into 32 bits.
    return value < 0 || value > INT32_MAX ? -1 : static_cast<int32_t>(value);
  }

  Napi::Env env_;
  Napi::Float64Array array_;
  size_t position_ = 0;
};

}  // namespace wm_napi
