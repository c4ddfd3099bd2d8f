// Element types of tensors. The numbers are part of the C ABI (WM_DTYPE_*) and of lib/engine/dtype.ts.
#pragma once

#include <cstddef>
#include <cstdint>

namespace wm {

enum class DType : int32_t { f32 = 0, bf16 = 1, f16 = 2, f64 = 3, i32 = 4, u8 = 5, boolean = 6 };

constexpr int kDTypeCount = 7;

constexpr size_t dtype_size(DType t) {
  switch (t) {
    case DType::f32:
    case DType::i32: return 4;
    case DType::bf16:
    case DType::f16: return 2;
    case DType::f64: return 8;
    case DType::u8:
    case DType::boolean: return 1;
  }
  return 0;
}

constexpr const char *dtype_name(DType t) {
  switch (t) {
    case DType::f32: return "f32";
    case DType::bf16: return "bf16";
    case DType::f16: return "f16";
    case DType::f64: return "f64";
    case DType::i32: return "i32";
    case DType::u8: return "u8";
    case DType::boolean: return "bool";
  }
  return "?";
}

}  // namespace wm
