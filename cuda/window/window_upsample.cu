// window_upsample: rows of the merged score maps of all queries (compositor.cuh); also the tables of the compositor.
// Floor: the volume [S, rows, W] written once; expected to be bound by the writes.
#include "cuda/window/compositor.cuh"

namespace wm::cuda {

namespace {

// table (=), the entries of four axes one after another. A thread an entry.
__global__ void __launch_bounds__(256) lerp_tables_kernel(const LerpAxes axes, LerpEntry *table) {
  int64_t k = grid_index();
  LerpEntry *entry = table + k;
  for (int a = 0; a < kLerpAxes; ++a) {
    const LerpAxis axis = axes.axis[a];
    if (k >= axis.count) {
      k -= axis.count;
      continue;
    }
    const int i = axis.first + static_cast<int>(k);
    if (axis.in == axis.out) {
      *entry = {i, i, 0.0f, 0};
    } else {
      const float position = fmaxf(fmaf(axis.factor, static_cast<float>(i) + 0.5f, -0.5f), 0.0f);
      const int low = min(static_cast<int>(position), axis.in - 1);
      *entry = {low, min(low + 1, axis.in - 1), __saturatef(position - static_cast<float>(low)), 0};
    }
    return;
  }
}

LerpAxis lerp_axis(int64_t in, int64_t out, int64_t first, int64_t count) {
  return {static_cast<int>(in), static_cast<int>(out), static_cast<int>(first), static_cast<int>(count),
          static_cast<float>(in) / static_cast<float>(out)};
}

// Canvas rows or columns under `positions` final ones, at most twice as many.
int slot_capacity(int64_t canvas, int64_t out, int positions) {
  const int64_t run = ceil_div((positions - 1) * canvas, out) + 3;
  return static_cast<int>(run < 2 * positions ? run : 2 * positions);
}

// logits f32 [N, S, h, w] -> out [S, rows, W] (=). A tile of 8 x 32 pixels and 256 threads a block, at most 36 KB of dynamic
// and 4.9 KB of static shared memory.
__global__ void __launch_bounds__(kMergeThreads) window_upsample_kernel(const MergePlan plan, float *out) {
  WM_DYNAMIC_SHARED(float, canvas);
  __shared__ TileWindows list;
  const int row = merge_row(plan), column = merge_column(plan);
  float *to = out + int64_t{row} * plan.out_w + column;
  const int64_t plane = int64_t{plan.rows} * plan.out_w;
  compose_tile(plan, row, column, canvas, list, [&](int64_t query, float value) { to[query * plane] = value; });
}

// logits f32 [N, S, h, w], boxes i32 [N, 4] -> f32 [S, rows, outW]; attrs as merge_plan
void window_upsample(LaunchCall &call) {
  const TensorView &out = call.out(0);
  const MergePlan plan = merge_plan(call, call.in(0), call.in(1), 0);
  if (out.dtype != DType::f32 || out.numel() != plan.queries * plan.rows * plan.out_w)
    call.reject("the output must be f32 [S, rows, outW]");
  if (out.numel() == 0) return;
  WM_LAUNCH(window_upsample_kernel, merge_grid(plan), dim3(kMergeThreads), merge_shared_bytes(plan), call.stream(),
            plan, out.as<float>());
}

}  // namespace

MergePlan merge_plan(LaunchCall &call, const TensorView &logits, const TensorView &boxes, int first) {
  if (logits.dtype != DType::f32 || logits.ndim != 4) call.reject("logits must be f32 [N, S, h, w]");
  check_boxes(call, boxes);
  int value[kMergeAttrs];
  constexpr int64_t kMax = int64_t{1} << 24;
  for (int i = 0; i < kMergeAttrs; ++i) {
    const int64_t v = call.attr_int(first + i);
    if (v < 0 || v > kMax) call.reject("sizes must be 0..%lld", static_cast<long long>(kMax));
    value[i] = static_cast<int>(v);
  }
  const int canvas_h = value[0], canvas_w = value[1], win_h = value[2], win_w = value[3], pad_top = value[4],
            pad_left = value[5], out_h = value[6], out_w = value[7], row0 = value[8], rows = value[9];
  const int64_t windows = logits.dim(0), h = logits.dim(2), w = logits.dim(3);
  if (windows < 1 || h < 1 || w < 1 || canvas_h < 1 || canvas_w < 1 || out_h < 1 || out_w < 1 || win_h < 1 || win_w < 1)
    call.reject("windows, maps, canvas and final size must not be empty");
  if (windows > INT32_MAX || h > kMax || w > kMax) call.reject("windows and maps are too large");
  if (boxes.dim(0) != windows) call.reject("boxes must be i32 [%lld, 4]", static_cast<long long>(windows));
  if (row0 + rows > out_h) call.reject("rows %d..%d are outside the final map", row0, row0 + rows);
  const LerpAxes axes{{lerp_axis(h, win_h, 0, win_h), lerp_axis(w, win_w, 0, win_w),
                       lerp_axis(canvas_h, out_h, row0, rows), lerp_axis(canvas_w, out_w, 0, out_w)}};
  int64_t entries = 0;
  for (const LerpAxis &axis : axes.axis) entries += axis.count;
  auto *table = call.workspace<LerpEntry>(entries);
  WM_LAUNCH(lerp_tables_kernel, dim3(blocks_for(entries, 256)), dim3(256), 0, call.stream(), axes, table);
  const Refusal box_refusal = call.refuses_values([canvas_h, canvas_w](const RefusedValue &seen) {
    const Box box{seen.value[0], seen.value[1], seen.value[2], seen.value[3]};
    return refused_box(seen.position, box, seen.value[4], seen.value[5], canvas_h, canvas_w);
  });
  const Refusal padding_refusal = call.refuses_values([win_h, win_w](const RefusedValue &seen) {
    return refused_padded_box(seen.value[0], seen.value[1], win_h, win_w);
  });
  return {logits.as<const float>(), boxes.as<const int>(), windows, logits.dim(1), static_cast<int>(h),
          static_cast<int>(w), canvas_h, canvas_w, win_h, win_w, pad_top, pad_left, rows, out_w, canvas_h == out_h,
          canvas_w == out_w, slot_capacity(canvas_h, out_h, kTileRows), slot_capacity(canvas_w, out_w, kTileColumns),
          static_cast<int>(ceil_div(out_w, kTileColumns)), table, table + win_h, table + win_h + win_w,
          table + win_h + win_w + rows, box_refusal, padding_refusal};
}

WM_REGISTER_CUDA_OP(window_upsample, window_upsample, kContiguous)

}  // namespace wm::cuda
