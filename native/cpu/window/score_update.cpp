// score_init and score_update: the running best over queries (score_state.h).
#include <algorithm>
#include <cfloat>

#include "native/cpu/window/score_state.h"

namespace wm {

namespace {

// attrs: rows, width, topk -> f32 [6 + 2 topk, rows, W]
void score_init(OpCall &call) {
  const TensorView &state = call.out(0);
  const int64_t topk = call.attr_int(2);
  check_score_state(call, state, topk);
  const int64_t plane = state.dim(1) * state.dim(2);
  const float none = -FLT_MAX;
  const float fixed[kScorePlanes] = {none, 0.0f, none, -1.0f, none, 0.0f};
  for (int64_t k = 0; k < state.dim(0); ++k) {
    const float value = k < kScorePlanes ? fixed[k] : k < kScorePlanes + topk ? none : -1.0f;
    float *to = state.as<float>() + k * plane;
    call.parallel(plane, 1 << 18,
                  [&](int64_t begin, int64_t end) { std::fill(to + begin, to + end, value); });
  }
}

// state f32 [6 + 2 topk, rows, W] (changed in place), logits f32 [S, rows, W], query_class i32 [S]
// attrs: scale, sum, second, moment, topk
void score_update(OpCall &call) {
  const ScoreState state(call, call.out(0), 0);
  const TensorView &logits = call.in(1);
  if (logits.dtype != DType::f32 || logits.ndim != 3 || logits.dim(1) != state.rows() ||
      logits.dim(2) != state.width()) {
    call.reject("logits must be f32 [S, %lld, %lld]", static_cast<long long>(state.rows()),
                static_cast<long long>(state.width()));
  }
  const int64_t queries = logits.dim(0), plane = state.rows() * state.width();
  const int32_t *labels = checked_query_class(call, call.in(2), queries);
  constexpr int64_t kPixels = 512;
  // The planes of a state are as contiguous as its rows, so pixels need no rows here.
  call.parallel(plane, kPixels, [&](int64_t begin, int64_t end) {
    for (int64_t s = 0; s < queries; s += kQueriesAtOnce) {
      const int64_t count = std::min(kQueriesAtOnce, queries - s);
      const float *x[kQueriesAtOnce];
      for (int64_t k = 0; k < count; ++k) x[k] = logits.as<float>() + (s + k) * plane + begin;
      state.take(0, begin, end - begin, x, labels + s, count);
    }
  });
}

}  // namespace

WM_REGISTER_CPU_OP(score_init, score_init, kContiguous)
WM_REGISTER_CPU_OP(score_update, score_update, kContiguous | kInPlace)

}  // namespace wm
