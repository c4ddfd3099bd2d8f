#include "native/cpu/simd/vmath_avx512.h"
#include "test/native/vmath.h"

namespace wm::test {

template <__m512 (*kFunction)(__m512)>
static void apply(const float *x, float *y) {
  _mm512_storeu_ps(y, kFunction(_mm512_loadu_ps(x)));
}

const VectorFunctions &vector_functions_avx512() {
  static const VectorFunctions table = {apply<exp512>,     apply<exp2_512>,     apply<log512>,
                                        apply<sigmoid512>, apply<erf512>,       apply<tanh512>,
                                        apply<gelu512>,    apply<gelu_tanh512>, apply<quick_gelu512>};
  return table;
}

}  // namespace wm::test
