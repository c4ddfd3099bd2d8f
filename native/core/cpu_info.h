// Instruction tier of this machine, chosen once at start. WORDMASK_ISA=scalar|avx2|avx512|avx512bf16 lowers it.
#pragma once

namespace wm {

enum class Isa : int { scalar = 0, avx2 = 1, avx512 = 2, avx512bf16 = 3 };

// The tier in use: the best one both the CPU and WORDMASK_ISA allow.
Isa cpu_isa();
const char *isa_name(Isa isa);

}  // namespace wm
