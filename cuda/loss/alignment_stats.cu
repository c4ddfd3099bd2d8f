// alignment_stats(embeddings [B, N, D], text [Q, D]; positives, negatives, rank, first, temperature, cosinePixels) -> three
// statistics of S_ij = <e_i^k, t_j> that the losses of MGCA need (mgca.md section 3, kernels.md R3): regions [B, D], cosines
// [B, Q] and pixels [B, Q]. With P = softmax over pixels of S / temperature and M its largest entries, r_ij = sum of P M e_i^k:
//   regions[i] = r_ij for the image's own text, cosines[i, j] = cos(r_ij, t_j), pixels[i, j] = the rank-th largest S for the
//   own text, the largest for others (or of the cosines).
// Groups of (image, text) rows: similarities by the GEMM family, then a block a row. On devices with bf16 units an f32 operand
// goes into the product as the sum of three bf16. Expected limiter: the product (six of bf16, or the FMA units); beside it the
// rows read their regions' pixels from the second-level cache.
#include <algorithm>

#include "cuda/loss/alignment_row.cuh"

namespace wm::cuda {

namespace {

struct Outputs {
  float *regions, *cosines, *pixels;
};

// One block of 256 threads a row of the group; shared memory: scratch of a row where it fits, and 1.2 KiB.
__global__ void __launch_bounds__(kSelectThreads)
alignment_rows_kernel(AlignmentProblem p, AlignmentGroup group, AlignmentScratch scratch, Outputs out) {
  WM_DYNAMIC_SHARED(float, shared_scratch);
  __shared__ AlignmentShared shared;
  const int64_t r = blockIdx.x;
  AlignmentRow row(p, group, r, scratch.memory == nullptr ? shared_scratch : scratch.memory + r * scratch.stride, shared);
  row.analyse(group.similarity + r * p.pixels);
  if (row.own) {
    for (int c = static_cast<int>(threadIdx.x); c < row.width; c += kSelectThreads)
      out.regions[row.image * p.width + c] = row.region[c];
  }
  if (threadIdx.x == 0) {
    out.cosines[row.image * p.texts + row.text] = row.cosine;
    out.pixels[row.image * p.texts + row.text] = row.pixel;
  }
}

void alignment_stats(LaunchCall &call) {
  AlignmentProblem p = alignment_problem(call);
  for (int i = 0; i < 3; ++i) {
    if (call.out(i).numel() != p.batch * (i == 0 ? p.width : p.texts) || call.out(i).dtype != DType::f32)
      call.reject("the outputs must be [B, D], [B, Q] and [B, Q]");
  }
  if (p.batch == 0) return;
  alignment_lengths(call, p);
  AlignmentGroup largest = alignment_largest_group(p);
  largest.similarity = call.workspace<float>(largest.rows() * p.pixels);
  const AlignmentScratch scratch = alignment_scratch(call, p, largest);
  const AlignmentSplit split = alignment_split(call, p, largest);
  const Outputs out{call.out(0).as<float>(), call.out(1).as<float>(), call.out(2).as<float>()};
  for_each_group(p, largest, [&](const AlignmentGroup &group) {
    alignment_similarities(call, p, group, split);
    WM_LAUNCH(alignment_rows_kernel, dim3(blocks_for(group.rows(), 1)), dim3(kSelectThreads), scratch.shared_bytes,
              call.stream(), p, group, scratch, out);
  });
}

}  // namespace

WM_REGISTER_CUDA_OP(alignment_stats, alignment_stats, kContiguous)

}  // namespace wm::cuda
