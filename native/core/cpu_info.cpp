#include "native/core/cpu_info.h"

#include <cstdlib>
#include <cstring>

namespace wm {

static Isa detect() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq")) {
    return __builtin_cpu_supports("avx512bf16") ? Isa::avx512bf16 : Isa::avx512;
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return Isa::avx2;
#endif
  return Isa::scalar;
}

const char *isa_name(Isa isa) {
  static const char *const names[] = {"scalar", "avx2", "avx512", "avx512bf16"};
  return names[static_cast<int>(isa)];
}

Isa cpu_isa() {
  static const Isa chosen = [] {
    const Isa best = detect();
    const char *wanted = std::getenv("WORDMASK_ISA");
    if (wanted != nullptr) {
      for (int i = 0; i < static_cast<int>(best); ++i) {
        if (std::strcmp(wanted, isa_name(static_cast<Isa>(i))) == 0) return static_cast<Isa>(i);
      }
    }
    return best;
  }();
  return chosen;
}

}  // namespace wm
