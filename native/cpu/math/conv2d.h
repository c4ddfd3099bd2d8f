// What the convolutions share: the checked problem, pictures with a border of zeros, and the f64 loops.
#pragma once

#include <vector>

#include "native/core/image_checks.h"
#include "native/cpu/math/gemm.h"

namespace wm {

// Pictures with room around: element (b, y, x) of the source lies at row top + y * step, column left + x * step.
struct Border {
  int64_t height, width, top, left, step;
};

// Images convolved together, so that their copies with a border stay within 32 MiB.
int64_t conv_group(int64_t batch, const Border &border, int64_t channels, int64_t element);

// Writes images [first, first + count) of `source` [B, h, w, c] into `to` (f32 or bf16), zeros elsewhere.
void conv_border(OpCall &call, const TensorView &source, int64_t first, int64_t count, const Border &border,
                 DType to_dtype, void *to);

// Starts of the runs of a convolution's rows (one an output row) and of its k (one a tap), in elements.
std::vector<int64_t> conv_row_starts(const Border &border, int64_t images, int64_t out_h, int64_t stride,
                                     int64_t channels);
std::vector<int64_t> conv_tap_starts(const Border &border, int64_t kernel_h, int64_t kernel_w,
                                     int64_t channels);

void conv2d_f64(OpCall &call, const ConvProblem &p);
void conv2d_bwd_input_f64(OpCall &call, const ConvProblem &p);
void conv2d_bwd_weight_f64(OpCall &call, const ConvProblem &p);

}  // namespace wm
