// window_merge: window_upsample and score_update in one pass over tiles of the final map, with the same bits
// and without the volume [S, rows, W] between them (kernels.md P3).
#include <algorithm>

#include "native/cpu/window/compositor.h"
#include "native/cpu/window/score_state.h"

namespace wm {

namespace {

void merge_tile(const Compositor &plan, const ScoreState &state, const int32_t *labels, const Tile &tile,
                int64_t row0) {
  Compositor::Worker worker(plan, tile);
  const int64_t columns = tile.column1 - tile.column0, rows = tile.row1 - tile.row0;
  std::vector<float> values(static_cast<size_t>(kQueriesAtOnce * rows * columns));
  for (int64_t s = 0; s < plan.queries(); s += kQueriesAtOnce) {
    const int64_t count = std::min(kQueriesAtOnce, plan.queries() - s);
    for (int64_t k = 0; k < count; ++k) worker.rows(s + k, values.data() + k * rows * columns, columns);
    for (int64_t r = 0; r < rows; ++r) {
      const float *x[kQueriesAtOnce];
      for (int64_t k = 0; k < count; ++k) x[k] = values.data() + (k * rows + r) * columns;
      state.take(tile.row0 - row0 + r, tile.column0, columns, x, labels + s, count);
    }
  }
}

// state f32 [6 + 2 topk, rows, outW] (changed in place), logits f32 [N, S, h, w], boxes i32 [N, 4],
// query_class i32 [S] attrs: as window_upsample, then scale, sum, second, moment, topk
void window_merge(OpCall &call) {
  const Compositor plan(call, call.in(1), call.in(2), 0);
  const ScoreState state(call, call.out(0), Compositor::kAttrs);
  const int32_t *labels = checked_query_class(call, call.in(3), plan.queries());
  if (state.rows() != plan.rows() || state.width() != plan.width()) {
    call.reject("the state must have %lld x %lld pixels, got %lld x %lld",
                static_cast<long long>(plan.rows()), static_cast<long long>(plan.width()),
                static_cast<long long>(state.rows()), static_cast<long long>(state.width()));
  }
  if (plan.rows() == 0) return;
  const int64_t row0 = plan.tile(0).row0;
  call.parallel(plan.tiles(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) merge_tile(plan, state, labels, plan.tile(t), row0);
  });
}

}  // namespace

WM_REGISTER_CPU_OP(window_merge, window_merge, kContiguous | kInPlace)

}  // namespace wm
