// class_probabilities: softmax over all queries, then the largest of each class (naclip.md section 6, steps
// 3, 4, 7).
//   p[c] = max over queries s of class c of exp(scale * (x[s] - max x)) / sum over all queries; 0 for a class
//   without queries; with renormalise divided by the sum over classes. Query classes of -1 count in the sum
//   alone.
#include <algorithm>

#include "native/core/refused_values.h"
#include "native/cpu/window/score_state.h"

namespace wm {

namespace {

struct Block {
  const float *logits;  // [S, plane] from the block's first pixel on
  float *out;           // [Q, plane]
  int64_t queries, classes, plane, n;
  float scale;
  bool renormalise;
};

void probability_block(const Block &b, const int32_t *labels, float *peak, float *sum) {
  const MergeKernels &kernels = merge_kernels();
  for (int64_t c = 0; c < b.classes; ++c) std::fill(b.out + c * b.plane, b.out + c * b.plane + b.n, 0.0f);
  if (b.queries == 0) return;
  std::copy(b.logits, b.logits + b.n, peak);
  std::fill(sum, sum + b.n, 0.0f);
  for (int64_t s = 1; s < b.queries; ++s) kernels.max_row(b.logits + s * b.plane, b.n, peak);
  for (int64_t s = 0; s < b.queries; ++s) {
    float *best = labels[s] >= 0 ? b.out + labels[s] * b.plane : nullptr;
    kernels.exp_row(b.logits + s * b.plane, peak, b.scale, b.n, sum, best);
  }
  if (b.renormalise) {
    std::fill(sum, sum + b.n, 0.0f);
    for (int64_t c = 0; c < b.classes; ++c) {
      for (int64_t i = 0; i < b.n; ++i) sum[i] += b.out[c * b.plane + i];
    }
    // Every class that competes can underflow beside queries that do not.
    for (int64_t i = 0; i < b.n; ++i) sum[i] = sum[i] > 0 ? sum[i] : 1.0f;
  }
  for (int64_t c = 0; c < b.classes; ++c) kernels.divide_row(b.out + c * b.plane, sum, b.n);
}

// logits f32 [S, H, W], query_class i32 [S] -> f32 [Q, H, W]; attrs: scale, classes, renormalise
void class_probabilities(OpCall &call) {
  const TensorView &logits = call.in(0);
  const TensorView &out = call.out(0);
  if (logits.dtype != DType::f32 || logits.ndim != 3) call.reject("logits must be f32 [S, H, W]");
  const int64_t queries = logits.dim(0), plane = logits.dim(1) * logits.dim(2), classes = call.attr_int(1);
  const int32_t *labels = checked_query_class(call, call.in(1), queries);
  if (out.dtype != DType::f32 || out.numel() != classes * plane)
    call.reject("the output must be f32 [Q, H, W]");
  for (int64_t s = 0; s < queries; ++s) {
    if (labels[s] >= classes) call.reject(refused_query_class_beyond(s, labels[s], classes));
  }
  constexpr int64_t kPixels = 256;
  call.parallel(plane, kPixels, [&](int64_t begin, int64_t end) {
    float peak[kPixels], sum[kPixels];
    const Block block{
        logits.as<float>() + begin,       out.as<float>() + begin, queries, classes, plane, end - begin,
        static_cast<float>(call.attr(0)), call.attr_flag(2)};
    probability_block(block, labels, peak, sum);
  });
}

}  // namespace

WM_REGISTER_CPU_OP(class_probabilities, class_probabilities, kContiguous)

}  // namespace wm
