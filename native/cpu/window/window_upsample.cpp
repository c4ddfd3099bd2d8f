// window_upsample: rows of the merged score maps of all queries (compositor.h).
#include "native/cpu/window/compositor.h"

namespace wm {

namespace {

// logits f32 [N, S, h, w], boxes i32 [N, 4] -> f32 [S, rows, outW]; attrs as Compositor
void window_upsample(OpCall &call) {
  const Compositor plan(call, call.in(0), call.in(1), 0);
  const TensorView &out = call.out(0);
  if (out.dtype != DType::f32 || out.numel() != plan.queries() * plan.rows() * plan.width()) {
    call.reject("the output must be f32 [S, rows, outW]");
  }
  if (out.numel() == 0) return;
  const int64_t row0 = plan.tile(0).row0;
  call.parallel(plan.tiles(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const Tile tile = plan.tile(t);
      Compositor::Worker worker(plan, tile);
      for (int64_t s = 0; s < plan.queries(); ++s) {
        float *to = out.as<float>() + (s * plan.rows() + tile.row0 - row0) * plan.width() + tile.column0;
        worker.rows(s, to, plan.width());
      }
    }
  });
}

}  // namespace

WM_REGISTER_CPU_OP(window_upsample, window_upsample, kContiguous)

}  // namespace wm
