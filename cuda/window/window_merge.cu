// window_merge: window_upsample and score_update in one pass over tiles of the final map, with the same bits and without
// the volume [S, rows, W] between them (kernels.md P3).
// Floor: the logits read once, the state read and written once; expected to be bound by instruction issue (about fifty a
// pixel and query) long before memory.
#include "cuda/window/compositor.cuh"
#include "cuda/window/score_state.cuh"

namespace wm::cuda {

namespace {

// state [6 + 2 topk, rows, W] (+=), logits f32 [N, S, h, w], classes [S]. A tile of 8 x 32 pixels and 256 threads a block,
// a thread a pixel; at most 36 KB of dynamic and 4.9 KB of static shared memory.
template <bool kSum, bool kRest>
__global__ void __launch_bounds__(kMergeThreads, 3)
    window_merge_kernel(const MergePlan plan, const ScorePlan scores, const QueryClasses classes) {
  WM_DYNAMIC_SHARED(float, canvas);
  __shared__ TileWindows list;
  const int row = merge_row(plan), column = merge_column(plan);
  const int64_t pixel = int64_t{row} * plan.out_w + column;
  const bool inside = row < plan.rows && column < plan.out_w;
  if (blockIdx.x == 0) classes.refuse();
  PixelScore<kSum, kRest> score{};
  if (inside) score.load(scores, pixel);
  compose_tile(plan, row, column, canvas, list, [&](int64_t query, float value) {
    const int query_class = __ldg(classes.of + query);
    score.take(scores, value, query_class);
    if (scores.topk > 0) take_top(scores, pixel, value, query_class);
  });
  if (inside) score.store(scores, pixel);
}

// state f32 [6 + 2 topk, rows, outW] (changed in place), logits f32 [N, S, h, w], boxes i32 [N, 4], query_class i32 [S]
// attrs: as window_upsample, then scale, sum, second, moment, topk
void window_merge(LaunchCall &call) {
  const TensorView &state = call.out(0);
  const MergePlan plan = merge_plan(call, call.in(1), call.in(2), 0);
  const ScorePlan scores = score_plan(call, state, kMergeAttrs);
  const QueryClasses classes = query_classes(call, call.in(3), plan.queries);
  if (state.dim(1) != plan.rows || state.dim(2) != plan.out_w) {
    call.reject("the state must have %d x %d pixels, got %lld x %lld", plan.rows, plan.out_w,
                static_cast<long long>(state.dim(1)), static_cast<long long>(state.dim(2)));
  }
  if (plan.rows == 0) return;
  by_planes(scores, [&](auto sum, auto rest) {
    WM_LAUNCH((window_merge_kernel<decltype(sum)::value, decltype(rest)::value>), merge_grid(plan),
              dim3(kMergeThreads), merge_shared_bytes(plan), call.stream(), plan, scores, classes);
  });
}

}  // namespace

WM_REGISTER_CUDA_OP(window_merge, window_merge, kContiguous | kInPlace)

}  // namespace wm::cuda
