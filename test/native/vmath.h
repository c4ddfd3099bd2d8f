// The vector functions of both instruction sets behind one signature: 16 values in, 16 out.
#pragma once

namespace wm::test {

struct VectorFunctions {
  using Function = void (*)(const float *x, float *y);
  Function exp, exp2, log, sigmoid, erf, tanh, gelu, gelu_tanh, quick_gelu;
};

const VectorFunctions &vector_functions_avx2();
const VectorFunctions &vector_functions_avx512();

}  // namespace wm::test
