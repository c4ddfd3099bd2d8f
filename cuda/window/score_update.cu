// score_init and score_update: the running best over queries (score_state.cuh).
// Floor of score_update: the logits read once, the state read and written once; expected to be bound by memory, or by the
// chain of exponentials where pixels are few.
#include "cuda/image/rows.cuh"
#include "cuda/window/score_state.cuh"

namespace wm::cuda {

namespace {

// state [planes, plane] (=). 256 threads a block over planes and pixels.
__global__ void __launch_bounds__(kRowThreads) score_init_kernel(float *state, int planes, int topk, int64_t plane) {
  const int64_t k = grid_row();
  if (k >= planes) return;
  const bool none = k == 0 || k == 2 || k == 4 || (k >= kScorePlanes && k < kScorePlanes + topk);
  const float value = none ? kNoScore : k == 1 || k == 5 ? 0.0f : -1.0f;
  for (int64_t i = grid_column(); i < plane; i += column_step()) state[k * plane + i] = value;
}

// attrs: rows, width, topk -> f32 [6 + 2 topk, rows, W]
void score_init(LaunchCall &call) {
  const TensorView &state = call.out(0);
  const int64_t topk = call.attr_int(2);
  check_score_state(call, state, topk);
  if (state.numel() == 0) return;
  const int64_t plane = state.dim(1) * state.dim(2);
  const RowGrid g = row_grid(state.dim(0), plane);
  WM_LAUNCH(score_init_kernel, g.grid, g.block, 0, call.stream(), state.as<float>(), static_cast<int>(state.dim(0)),
            static_cast<int>(topk), plane);
}

// Queries whose logits are asked for before the first is used.
constexpr int kAhead = 4;

// state [6 + 2 topk, plane] (+=), logits [queries, plane], classes [queries]. A thread a pixel, 256 a block.
template <bool kSum, bool kRest>
__global__ void __launch_bounds__(256)
    score_update_kernel(const ScorePlan plan, const float *logits, const QueryClasses classes) {
  const int64_t i = grid_index(), queries = classes.queries;
  if (blockIdx.x == 0) classes.refuse();
  if (i >= plan.plane) return;
  PixelScore<kSum, kRest> score;
  score.load(plan, i);
  for (int64_t s = 0; s < queries; s += kAhead) {
    float x[kAhead];
#pragma unroll
    for (int k = 0; k < kAhead; ++k) x[k] = s + k < queries ? logits[(s + k) * plan.plane + i] : 0.0f;
#pragma unroll
    for (int k = 0; k < kAhead; ++k) {
      if (s + k >= queries) break;
      const int query_class = __ldg(classes.of + s + k);
      score.take(plan, x[k], query_class);
      if (plan.topk > 0) take_top(plan, i, x[k], query_class);
    }
  }
  score.store(plan, i);
}

// state f32 [6 + 2 topk, rows, W] (changed in place), logits f32 [S, rows, W], query_class i32 [S]
// attrs: scale, sum, second, moment, topk
void score_update(LaunchCall &call) {
  const TensorView &state = call.out(0), &logits = call.in(1);
  const ScorePlan plan = score_plan(call, state, 0);
  if (logits.dtype != DType::f32 || logits.ndim != 3 || logits.dim(1) != state.dim(1) ||
      logits.dim(2) != state.dim(2)) {
    call.reject("logits must be f32 [S, %lld, %lld]", static_cast<long long>(state.dim(1)),
                static_cast<long long>(state.dim(2)));
  }
  const QueryClasses classes = query_classes(call, call.in(2), logits.dim(0));
  by_planes(plan, [&](auto sum, auto rest) {
    WM_LAUNCH((score_update_kernel<decltype(sum)::value, decltype(rest)::value>), dim3(blocks_for(plan.plane, 256)),
              dim3(256), 0, call.stream(), plan, logits.as<const float>(), classes);
  });
}

}  // namespace

WM_REGISTER_CUDA_OP(score_init, score_init, kContiguous)
WM_REGISTER_CUDA_OP(score_update, score_update, kContiguous | kInPlace)

}  // namespace wm::cuda
