// self_attention for AVX-512 in f32: a word is one element.
#include "native/cpu/attention/self_attention_avx512.h"

namespace wm {
namespace attention {

namespace {

struct SingleWords {
  static __m512 multiply_add(__m512 sum, __m512i a, __m512i b) {
    return _mm512_fmadd_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), sum);
  }
  static void store(void *to, int64_t at, __m512 x) { _mm512_storeu_ps(static_cast<float *>(to) + at, x); }
};

void rows_to_words(const void *src, int64_t stride, int64_t rows, int64_t columns, uint32_t *out) {
  const float *from = static_cast<const float *>(src);
  for (int64_t r = 0; r < rows; ++r, from += stride, out += columns) {
    for (int64_t c = 0; c < columns; c += 16) _mm512_storeu_ps(out + c, _mm512_loadu_ps(from + c));
  }
}

}  // namespace

const ShortKernels &short_kernels_avx512() {
  static const ShortKernels table = {transpose_words,       product<SingleWords>,    softmax<SingleWords>,
                                     jacobian<SingleWords>, store_rows<SingleWords>, rows_to_words};
  return table;
}

}  // namespace attention
}  // namespace wm
