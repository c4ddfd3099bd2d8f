// score_finish: what a running best (score_state.cuh) says. With p(x) = exp(scale * (x - peak)) / sum:
//   label    best class; where p(best) < threshold or p(best) - p(second) < margin_threshold, or where no query competed,
//            the background class, or `nothing` where background is -1
//   score    p(best), margin p(best) - p(second), both of the winner before the thresholds
//   entropy  log(sum) - moment / sum, in nats over all queries
//   top k    classes (-1: none) and probabilities, falling
// Floor: the planes asked for once; expected to be bound by memory.
#include "cuda/image/rows.cuh"
#include "cuda/window/score_state.cuh"

namespace wm::cuda {

namespace {

__device__ __forceinline__ float probability(const ScoreFinish &f, float logit, float peak, float sum) {
  if (!(sum > 0.0f) || logit <= kNoScore) return 0.0f;
  return __fdiv_rn(expf(__fmul_rn(f.scale, __fsub_rn(logit, peak))), sum);
}

// state [6 + 2 topk, plane] -> labels [plane] and the planes asked for (=). A thread a pixel, 256 a block.
template <class Label>
__global__ void __launch_bounds__(256) score_finish_kernel(const ScoreFinish f, Label *labels) {
  const int64_t i = grid_index();
  if (i >= f.plane) return;
  const float *state = f.state + i;
  const auto best = static_cast<int>(state[3 * f.plane]);
  bool keep = best >= 0;
  float sum = 0.0f, peak = 0.0f;
  if (f.probabilities || f.entropy != nullptr || f.topk > 0) {
    sum = state[f.plane];
    peak = state[2 * f.plane];
  }
  if (f.probabilities) {
    const float p = probability(f, state[0], peak, sum);
    const float margin = p - probability(f, state[4 * f.plane], peak, sum);
    keep = keep && !(p < f.threshold) && !(margin < f.margin_threshold);
    if (f.score != nullptr) f.score[i] = p;
    if (f.margin != nullptr) f.margin[i] = margin;
  }
  if (f.entropy != nullptr)
    f.entropy[i] = sum > 0.0f ? fmaxf(logf(sum) - __fdiv_rn(state[5 * f.plane], sum), 0.0f) : 0.0f;
  for (int k = 0; k < f.topk; ++k) {
    const float *entry = state + (kScorePlanes + k) * f.plane;
    f.top_label[k * f.plane + i] = static_cast<int>(entry[f.topk * f.plane]);
    f.top_value[k * f.plane + i] = probability(f, *entry, peak, sum);
  }
  labels[i] = static_cast<Label>(keep ? best : f.background >= 0 ? f.background : f.nothing);
}

// state f32 [6 + 2 topk, rows, W]; attrs: scale, threshold, marginThreshold, background, nothing, labelBits, topk, score,
// margin, entropy -> labels u8 | i32 [rows, W], then as asked: score, margin, entropy f32 [rows, W], top classes i32
// [topk, rows, W], top probabilities f32 [topk, rows, W]
void score_finish(LaunchCall &call) {
  const ScoreFinish f = read_score_finish(call);
  const TensorView &labels = call.out(0);
  const dim3 grid(blocks_for(f.plane, 256));
  if (labels.dtype == DType::u8) {
    WM_LAUNCH((score_finish_kernel<uint8_t>), grid, dim3(256), 0, call.stream(), f, labels.as<uint8_t>());
  } else {
    WM_LAUNCH((score_finish_kernel<int>), grid, dim3(256), 0, call.stream(), f, labels.as<int>());
  }
}

}  // namespace

WM_REGISTER_CUDA_OP(score_finish, score_finish, kContiguous)

}  // namespace wm::cuda
