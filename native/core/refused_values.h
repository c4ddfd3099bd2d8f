// How the refusal of a value that lies in a tensor reads: one text for the CPU's kernels, which throw it, and for a device's,
// which leave the value behind for the host (cuda/core/verdict.h).
#pragma once

#include <cstdint>
#include <string>

#include "native/core/status.h"

namespace wm {

// Window box of (y1, x1, y2, x2), end exclusive.
struct Box {
  int32_t y1, x1, y2, x2;
};

inline std::string refused_index(int64_t index, int64_t position, int64_t count) {
  return format_text("index %lld at position %lld is outside 0..%lld", static_cast<long long>(index),
                     static_cast<long long>(position), static_cast<long long>(count - 1));
}

inline std::string refused_target(int64_t target, int64_t row, int64_t classes, int64_t ignore) {
  return format_text("target %lld of row %lld is outside 0..%lld (ignored: %lld)", static_cast<long long>(target),
                     static_cast<long long>(row), static_cast<long long>(classes - 1), static_cast<long long>(ignore));
}

inline std::string refused_box(int64_t n, const Box &b, int64_t height, int64_t width, int64_t canvas_height,
                               int64_t canvas_width) {
  return format_text("box %lld (%d, %d, %d, %d) must be %lld x %lld inside %lld x %lld", static_cast<long long>(n), b.y1,
                     b.x1, b.y2, b.x2, static_cast<long long>(height), static_cast<long long>(width),
                     static_cast<long long>(canvas_height), static_cast<long long>(canvas_width));
}

inline std::string refused_padded_box(int64_t height, int64_t width, int64_t stretched_height, int64_t stretched_width) {
  return format_text("a box of %lld x %lld with its padding must lie inside the stretched map of %lld x %lld",
                     static_cast<long long>(height), static_cast<long long>(width),
                     static_cast<long long>(stretched_height), static_cast<long long>(stretched_width));
}

// f32 holds whole numbers up to 2^24.
constexpr int32_t kMaxQueryClass = 1 << 24;
inline std::string refused_query_class(int64_t query, int query_class) {
  return format_text("query_class[%lld] must be -1..2^24, got %d", static_cast<long long>(query), query_class);
}
inline std::string refused_query_class_beyond(int64_t query, int query_class, int64_t classes) {
  return format_text("query_class[%lld] is %d, there are %lld classes", static_cast<long long>(query), query_class,
                     static_cast<long long>(classes));
}

inline std::string refused_std(float value, int64_t channel) {
  return format_text("std must be positive, got %g for channel %lld", static_cast<double>(value),
                     static_cast<long long>(channel));
}

inline std::string refused_starts(int64_t rows) {
  return format_text("starts must rise from 0 to the %lld rows of qkv", static_cast<long long>(rows));
}

inline std::string refused_size_beyond() { return "the sizes go beyond the flat buffer"; }
inline std::string refused_size_short() { return "the sizes do not cover the flat buffer"; }
inline std::string refused_size(int64_t tensor, int64_t size, const char *dtype, int64_t found, const char *found_dtype) {
  return format_text("tensor %lld must have %lld %s elements, has %lld %s", static_cast<long long>(tensor),
                     static_cast<long long>(size), dtype, static_cast<long long>(found), found_dtype);
}

inline std::string refused_nan(int64_t position, int64_t height, int64_t width) {
  const int64_t plane = height * width, pixel = position % plane;
  return format_text("unary is NaN at class %lld, y %lld, x %lld", static_cast<long long>(position / plane),
                     static_cast<long long>(pixel / width), static_cast<long long>(pixel % width));
}

}  // namespace wm
