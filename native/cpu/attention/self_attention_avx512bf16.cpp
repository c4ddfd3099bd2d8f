// self_attention for the AVX-512 bf16 dot product: a word is two bf16.
#include "native/cpu/attention/self_attention_avx512.h"
#include "native/cpu/math/linear_bwd_weight.h"

namespace wm {
namespace attention {

namespace {

struct PairWords {
  static __m512 multiply_add(__m512 sum, __m512i a, __m512i b) {
    return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
  }
  static void store(void *to, int64_t at, __m512 x) {
    uint16_t *p = static_cast<uint16_t *>(to) + at;
    _mm256_storeu_si256(reinterpret_cast<__m256i *>(p), reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x)));
  }
};

void rows_to_words(const void *src, int64_t stride, int64_t rows, int64_t columns, uint32_t *out) {
  weight_grad_kernels_avx512bf16().pair_rows(static_cast<const bf16 *>(src), stride, rows, columns, columns, out);
}

}  // namespace

const ShortKernels &short_kernels_avx512bf16() {
  static const ShortKernels table = {transpose_words,     product<PairWords>,    softmax<PairWords>,
                                     jacobian<PairWords>, store_rows<PairWords>, rows_to_words};
  return table;
}

}  // namespace attention
}  // namespace wm
