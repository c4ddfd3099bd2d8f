// class_probabilities: softmax over all queries, then the largest of each class (naclip.md section 6, steps 3, 4, 7).
//   p[c] = max over queries s of class c of exp(scale * (x[s] - max x)) / sum over all queries; 0 for a class without
//   queries; with renormalise divided by the sum over classes. Query classes of -1 count in the sum alone.
// Floor: the logits read and the probabilities written once; expected to be bound by memory. The logits of a block's
// pixels stay in shared memory between the passes, up to some 1700 queries; beyond that they are read three times.
#include "cuda/image/rows.cuh"
#include "cuda/window/score_state.cuh"

namespace wm::cuda {

namespace {

struct Probabilities {
  const float *logits;  // [queries, plane]
  const int *classes;   // [queries]
  const int *first;     // [count] first query of each class, -1: it has none
  float *out;           // [count, plane]
  int64_t queries, count, plane;
  float scale;
};

// first [count] (=) the lowest query of each class. One thread a query, after the table was filled with the highest number.
__global__ void __launch_bounds__(256) clear_first_kernel(unsigned *first, int64_t count) {
  const int64_t c = grid_index();
  if (c < count) first[c] = 0xffffffffu;  // read as -1: none
}

__global__ void __launch_bounds__(256) first_query_kernel(const QueryClasses classes, Refusal beyond, int64_t count,
                                                           unsigned *first) {
  const int64_t s = grid_index();
  if (blockIdx.x == 0) classes.refuse();
  if (s >= classes.queries) return;
  const int c = classes.of[s];
  if (c >= count) beyond.at(s, c);
  if (c >= 0 && c < count) atomicMin(first + c, static_cast<unsigned>(s));
}

// out [count, plane] (=). A thread a pixel. kStaged: its column of queries lies in dynamic shared memory, 4 bytes a query and
// thread, first as logits, then as exponentials; no thread reads another's. The queries of a class after its first raise
// what that one wrote.
template <bool kRenormalise, bool kStaged>
__global__ void __launch_bounds__(256) class_probabilities_kernel(const Probabilities p) {
  WM_DYNAMIC_SHARED(float, stage);
  const int64_t i = grid_index();
  if (i >= p.plane) return;
  const float *x = p.logits + i;
  float *held = kStaged ? stage + threadIdx.x : nullptr, *out = p.out + i;
  const int pitch = static_cast<int>(blockDim.x);
  for (int64_t c = 0; c < p.count; ++c) {
    if (__ldg(p.first + c) < 0) out[c * p.plane] = 0.0f;
  }
  float peak = -FLT_MAX, sum = 0.0f;
#pragma unroll 8
  for (int s = 0; s < p.queries; ++s) {
    const float value = x[s * p.plane];
    if constexpr (kStaged) held[s * pitch] = value;
    peak = fmaxf(peak, value);
  }
  const auto exponential = [&](int s) {
    const float value = kStaged ? held[s * pitch] : x[s * p.plane];
    return expf(__fmul_rn(p.scale, __fsub_rn(value, peak)));
  };
  if constexpr (kStaged || !kRenormalise) {
#pragma unroll 4
    for (int s = 0; s < p.queries; ++s) {
      const float e = exponential(s);
      if constexpr (kStaged) held[s * pitch] = e;
      sum += e;
    }
  }
  for (int s = 0; s < p.queries; ++s) {
    const int c = __ldg(p.classes + s);
    if (c < 0 || c >= p.count) continue;
    const float e = kStaged ? held[s * pitch] : exponential(s), value = kRenormalise ? e : __fdiv_rn(e, sum);
    float &best = out[c * p.plane];
    best = __ldg(p.first + c) == s ? value : fmaxf(best, value);
  }
  if constexpr (kRenormalise) {
    sum = 0.0f;
    for (int64_t c = 0; c < p.count; ++c) sum += out[c * p.plane];
    // Every class that competes can underflow beside queries that do not.
    sum = sum > 0.0f ? sum : 1.0f;
    for (int64_t c = 0; c < p.count; ++c) out[c * p.plane] = __fdiv_rn(out[c * p.plane], sum);
  }
}

// The widest block whose columns leave room for a few blocks a multiprocessor, the narrowest that fits at all, or none.
template <bool kRenormalise>
void launch(const LaunchCall &call, const Probabilities &p) {
  const auto bytes = [&](int threads) { return static_cast<size_t>(p.queries) * sizeof(float) * static_cast<size_t>(threads); };
  constexpr size_t kRoom = 48 << 10;
  const int threads = bytes(128) <= kRoom ? 128 : bytes(64) <= kRoom ? 64 : 32;
  if (bytes(threads) <= call.shared_limit()) {
    WM_LAUNCH((class_probabilities_kernel<kRenormalise, true>), dim3(blocks_for(p.plane, threads)),
              dim3(static_cast<unsigned>(threads)), bytes(threads), call.stream(), p);
  } else {
    WM_LAUNCH((class_probabilities_kernel<kRenormalise, false>), dim3(blocks_for(p.plane, 256)), dim3(256), 0,
              call.stream(), p);
  }
}

// logits f32 [S, H, W], query_class i32 [S] -> f32 [Q, H, W]; attrs: scale, classes, renormalise
void class_probabilities(LaunchCall &call) {
  const TensorView &logits = call.in(0), &out = call.out(0);
  if (logits.dtype != DType::f32 || logits.ndim != 3) call.reject("logits must be f32 [S, H, W]");
  const int64_t queries = logits.dim(0), plane = logits.dim(1) * logits.dim(2), count = call.attr_int(1);
  if (count < 0 || queries > INT32_MAX || out.dtype != DType::f32 || out.numel() != count * plane)
    call.reject("the output must be f32 [Q, H, W]");
  const QueryClasses classes = query_classes(call, call.in(1), queries);
  const Refusal beyond = call.refuses_values([count](const RefusedValue &seen) {
    return refused_query_class_beyond(seen.position, seen.value[0], count);
  });
  if (out.numel() == 0) return;
  auto *first = call.workspace<unsigned>(count);
  WM_LAUNCH(clear_first_kernel, dim3(blocks_for(count, 256)), dim3(256), 0, call.stream(), first, count);
  WM_LAUNCH(first_query_kernel, dim3(blocks_for(queries, 256)), dim3(256), 0, call.stream(), classes, beyond, count,
            first);
  const Probabilities p{logits.as<const float>(), classes.of, reinterpret_cast<const int *>(first), out.as<float>(),
                        queries, count, plane, static_cast<float>(call.attr(0))};
  if (call.attr_flag(2)) return launch<true>(call, p);
  launch<false>(call, p);
}

}  // namespace

WM_REGISTER_CUDA_OP(class_probabilities, class_probabilities, kContiguous)

}  // namespace wm::cuda
