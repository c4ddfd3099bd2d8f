// The inner sum of the separable blur: out[i] = w[0] * rows[0][i] + sum over k of w[k] * (rows[2k-1][i] + rows[2k][i]).
// Both passes use it, one with rows above and below, the other with one row shifted left and right.
#pragma once

#include <cstdint>

namespace wm {

using BlurRow = void (*)(const float *const *rows, const float *weights, int64_t radius, int64_t count, float *out);

#if defined(__x86_64__)
void blur_row_avx2(const float *const *rows, const float *weights, int64_t radius, int64_t count, float *out);
void blur_row_avx512(const float *const *rows, const float *weights, int64_t radius, int64_t count, float *out);
#endif

}  // namespace wm
