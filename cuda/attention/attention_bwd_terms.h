// Gradients of what is added to the logits, and of what depends on them by other ways than products.
#pragma once

#include "cuda/attention/attention_params.h"

namespace wm::cuda::attention {

// out [B|1, A|1, rows|1, columns|1] (=): sum of dS over the axes of size 1, for rows [0, rows) and keys
// [first_key, first_key + columns). With `gaussian` each dS counts times its g(dy) g(dx).
struct TermGradient {
  Params params[2];
  BackwardParams grads[2];
  int count;
  void *out;
  DType dtype;
  int shape[4];
  int rows, columns, first_key;
  bool gaussian;
};

// `type`: of q, k and v.
void term_gradient(LaunchCall &call, DType type, const TermGradient &t);

// dSelfKey and dSelfValue [B, Nq, A, .] (=) from the row statistics.
void self_column_gradient(LaunchCall &call, DType type, const Params &p, const BackwardParams &g, void *d_key, void *d_value);

// 'nonly': logits depend on a and b by their mean norms alone. Adds to the stored gradients of the sources (of inputs
// 0, 1, 2; null where not concerned).
void norm_gradient(LaunchCall &call, const Call &c, const float *d_factor);

}  // namespace wm::cuda::attention
