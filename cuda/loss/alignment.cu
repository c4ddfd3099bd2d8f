// The steps that forward and backward of alignment_stats share: lengths, groups and similarities.
#include "cuda/loss/alignment.h"

#include <algorithm>

#include "cuda/loss/alignment_row.cuh"
#include "cuda/math/bf16_operand.h"
#include "cuda/math/gemm.h"

namespace wm::cuda {

namespace {

constexpr int kThreads = 128, kWarps = kThreads / 32;

// rows [count, width] -> 1 / max(|row|, 1e-12) (=). One warp a row, four rows a block.
__global__ void __launch_bounds__(kThreads)
row_lengths_kernel(const float *rows, float *inverse, int64_t count, int64_t width) {
  const int64_t r = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / 32;
  float squares = 0.0f;
  if (r < count) {
    for (int64_t c = threadIdx.x % 32; c < width; c += 32) squares += rows[r * width + c] * rows[r * width + c];
  }
  squares = warp_sum(squares);
  if (r < count && threadIdx.x % 32 == 0) inverse[r] = 1.0f / fmaxf(sqrtf(squares), 1e-12f);
}

const float *inverse_lengths(LaunchCall &call, const float *rows, int64_t count, int64_t width) {
  auto *inverse = call.workspace<float>(std::max<int64_t>(1, count));
  WM_LAUNCH(row_lengths_kernel, dim3(blocks_for(count, kWarps)), dim3(kThreads), 0, call.stream(), rows, inverse, count,
            width);
  return inverse;
}

}  // namespace

AlignmentProblem alignment_problem(LaunchCall &call) {
  const TensorView &x = call.in(0), &text = call.in(1);
  if (x.ndim != 3 || text.ndim != 2 || x.dim(2) != text.dim(1) || x.dtype != text.dtype)
    call.reject("embeddings must be [B, N, D] and text [Q, D] of one dtype");
  if (x.dtype != DType::f32) call.reject("takes f32 on this device");
  AlignmentProblem p{};
  p.embeddings = x.as<const float>();
  p.text = text.as<const float>();
  p.batch = x.dim(0);
  p.pixels = x.dim(1);
  p.width = x.dim(2);
  p.texts = text.dim(0);
  p.positives = call.attr_int(0);
  p.negatives = call.attr_int(1);
  p.rank = call.attr_int(2);
  p.first = call.attr_int(3);
  p.inverse_temperature = static_cast<float>(1 / call.attr(4));
  p.cosine_pixels = call.attr_flag(5);
  const auto within = [&](int64_t count) { return count >= 1 && count <= p.pixels; };
  if (p.batch > 0 && (!within(p.positives) || !within(p.negatives) || !within(p.rank)))
    call.reject("positives, negatives and rank must lie between 1 and the number of pixels");
  if (p.first < 0 || p.first > p.texts - p.batch) call.reject("each image must have a text of its own");
  constexpr int64_t kMost = int64_t{1} << 30;
  if (p.pixels > kMost || p.width > kMost || !(call.attr(4) > 0)) call.reject("too many pixels, or no temperature");
  return p;
}

void alignment_lengths(LaunchCall &call, AlignmentProblem &p) {
  p.inverse_texts = inverse_lengths(call, p.text, p.texts, p.width);
  if (p.cosine_pixels) p.inverse_pixels = inverse_lengths(call, p.embeddings, p.batch * p.pixels, p.width);
}

AlignmentGroup alignment_largest_group(const AlignmentProblem &p) {
  const int64_t rows = std::max<int64_t>(1, (int64_t{1} << 23) / std::max<int64_t>(1, p.pixels));
  AlignmentGroup group{};
  group.texts = std::min(p.texts, rows);
  group.images = std::min(p.batch, std::max<int64_t>(1, rows / std::max<int64_t>(1, group.texts)));
  return group;
}

AlignmentScratch alignment_scratch(LaunchCall &call, const AlignmentProblem &p, const AlignmentGroup &largest) {
  AlignmentScratch scratch;
  const int64_t floats = AlignmentRow::scratch_floats(p);
  scratch.stride = floats;
  if (static_cast<size_t>(floats) * sizeof(float) + sizeof(AlignmentShared) + 1024 <= call.shared_limit()) {
    scratch.shared_bytes = static_cast<size_t>(floats) * sizeof(float);
  } else {
    scratch.memory = call.workspace<float>(floats * largest.rows());
  }
  return scratch;
}

bool alignment_splits(const LaunchCall &call, const AlignmentProblem &p) {
  // Rows of bf16 on 16-byte lines need no further copy. The tier follows from the width alone.
  return call.tier() >= 2 && p.width % 8 == 0;
}

AlignmentSplit alignment_split(LaunchCall &call, const AlignmentProblem &p, const AlignmentGroup &largest) {
  AlignmentSplit split;
  if (!alignment_splits(call, p)) return split;
  split.text = call.workspace<bf16>(kSplitPieces * p.texts * p.width);
  split.embeddings = call.workspace<bf16>(kSplitPieces * largest.images * p.pixels * p.width);
  bf16_split(call, p.text, p.texts, p.width, SplitSide::left, split.text);
  return split;
}

void alignment_similarities(LaunchCall &call, const AlignmentProblem &p, const AlignmentGroup &group,
                            const AlignmentSplit &split) {
  const float *embeddings = p.embeddings + group.image0 * p.pixels * p.width;
  const bool narrow = split.text != nullptr;
  const int64_t k = narrow ? kSplitPieces * p.width : p.width;
  GemmArgs args;
  args.narrow = narrow;
  args.params.m = group.texts;
  args.params.n = p.pixels;
  args.params.k = k;
  args.params.leads = 1;
  args.params.lead_size[0] = group.images;
  args.params.a.row_stride = k;
  args.params.a.k_stride = 1;
  args.params.b.row_stride = k;
  args.params.b.k_stride = 1;
  args.params.b.lead_stride[0] = p.pixels * k;
  if (narrow) {
    // Of later texts the images are split already.
    if (group.text0 == 0)
      bf16_split(call, embeddings, group.images * p.pixels, p.width, SplitSide::right, split.embeddings);
    args.params.a.data = split.text + group.text0 * k;
    args.params.b.data = split.embeddings;
    args.params.a.dtype = args.params.b.dtype = DType::bf16;
  } else {
    args.params.a.data = p.text + group.text0 * k;
    args.params.b.data = embeddings;
  }
  args.params.epilogue.out = group.similarity;
  gemm(call, args);
}

}  // namespace wm::cuda
