#include "native/cpu/simd/vmath_avx2.h"
#include "test/native/vmath.h"

namespace wm::test {

template <__m256 (*kFunction)(__m256)>
static void apply(const float *x, float *y) {
  _mm256_storeu_ps(y, kFunction(_mm256_loadu_ps(x)));
  _mm256_storeu_ps(y + 8, kFunction(_mm256_loadu_ps(x + 8)));
}

const VectorFunctions &vector_functions_avx2() {
  static const VectorFunctions table = {apply<exp256>,     apply<exp2_256>,     apply<log256>,
                                        apply<sigmoid256>, apply<erf256>,       apply<tanh256>,
                                        apply<gelu256>,    apply<gelu_tanh256>, apply<quick_gelu256>};
  return table;
}

}  // namespace wm::test
