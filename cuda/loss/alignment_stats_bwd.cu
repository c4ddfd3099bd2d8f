// alignment_stats_bwd(embeddings, text, dregions [B, D], dcosines [B, Q], dpixels [B, Q]; the attributes of alignment_stats,
// detach) -> dembeddings [B, N, D]. Similarities are computed again, group by group. With g = dr (the own region's and the
// cosine's gradients together), w = P on the region and dP_k = <g, e_k> there:
//   de_k = w_k g + dS_k t,   dS = P (dP - <P, dP>) / temperature + dpixel at its pixel;   with detach, dS of P is 0.
// The terms in t are one product over texts; those in g are gathered pixel by pixel, so that each pixel has one writer and its
// texts come in order. On devices with bf16 units an f32 operand goes into a product as the sum of three bf16. Expected limiter: the
// two products, the second-level cache in the gathers.
#include <algorithm>

#include "cuda/loss/alignment_row.cuh"
#include "cuda/math/bf16_operand.h"
#include "cuda/math/gemm.h"

namespace wm::cuda {

namespace {

struct Upstream {
  const float *regions, *cosines, *pixels;  // null where not given
};

// Of the rows of a group.
struct RowGradients {
  float *weights;  // [rows, pixels]: w, 0 outside of the region
  float *region;   // [rows, width]: g
  float *shrink;   // [rows]: with cosine_pixels, what the chosen pixel's embedding shrinks by
  int *place;      // [rows]: the chosen pixel
  bool detach;
};

// w_k <g, e_k> of the region's pixels; one warp a pixel at a time.
__device__ void region_products(const AlignmentRow &row) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  for (int i = static_cast<int>(threadIdx.x) / 32; i < row.count; i += kSelectWarps) {
    const float *e = row.rows + static_cast<int64_t>(row.indices[i]) * row.width;
    float sum = 0.0f;
    for (int c = lane; c < row.width; c += 32) sum += row.region[c] * e[c];
    sum = warp_sum(sum);
    if (lane == 0) row.products[i] = row.weights[i] * sum;
  }
  __syncthreads();
}

// Turns the row of similarities into the coefficients of t.
__device__ void store_coefficients(const AlignmentProblem &p, const AlignmentRow &row, const RowGradients &to, float pixel_up,
                                   AlignmentShared &shared, float *coefficients) {
  float factor = 0.0f;
  if (!to.detach) {
    region_products(row);
    float mean = 0.0f;
    for (int i = static_cast<int>(threadIdx.x); i < row.count; i += kSelectThreads) mean += row.products[i];
    factor = -block_sum(mean, shared.sums) * p.inverse_temperature;
  }
  for (int k = static_cast<int>(threadIdx.x); k < row.pixels; k += kSelectThreads)
    coefficients[k] = to.detach ? 0.0f : row.probability(k) * factor;
  __syncthreads();
  if (!to.detach) {
    for (int i = static_cast<int>(threadIdx.x); i < row.count; i += kSelectThreads)
      coefficients[row.indices[i]] += row.products[i] * p.inverse_temperature;
    __syncthreads();
  }
  if (threadIdx.x == 0) coefficients[row.pixel_index] += pixel_up;
}

// One block of 256 threads a row of the group: coefficients over its similarities, w and g (all =). Shared memory: scratch of a
// row where it fits, and 1.2 KiB.
__global__ void __launch_bounds__(kSelectThreads)
alignment_rows_bwd_kernel(AlignmentProblem p, AlignmentGroup group, AlignmentScratch scratch, Upstream up, RowGradients to) {
  WM_DYNAMIC_SHARED(float, shared_scratch);
  __shared__ AlignmentShared shared;
  const int64_t r = blockIdx.x;
  AlignmentRow row(p, group, r, scratch.memory == nullptr ? shared_scratch : scratch.memory + r * scratch.stride, shared);
  float *coefficients = group.similarity + r * p.pixels, *weights = to.weights + r * p.pixels;
  row.analyse(coefficients);
  const int64_t at = row.image * p.texts + row.text;
  const float of_cosine = up.cosines != nullptr ? up.cosines[at] : 0.0f;
  const float along_text = of_cosine * row.inverse_region * row.inverse_text();
  const float along_region = -of_cosine * row.cosine * row.inverse_region * row.inverse_region;
  const float *own = row.own && up.regions != nullptr ? up.regions + row.image * p.width : nullptr;
  for (int c = static_cast<int>(threadIdx.x); c < row.width; c += kSelectThreads) {
    const float g = along_text * row.text_row[c] + along_region * row.region[c] + (own != nullptr ? own[c] : 0.0f);
    row.region[c] = g;
    to.region[r * p.width + c] = g;
  }
  for (int k = static_cast<int>(threadIdx.x); k < row.pixels; k += kSelectThreads) weights[k] = 0.0f;
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < row.count; i += kSelectThreads) weights[row.indices[i]] = row.weights[i];
  float pixel_up = up.pixels != nullptr ? up.pixels[at] : 0.0f;
  if (p.cosine_pixels) {
    const float inverse = row.inverse_pixel(row.pixel_index);
    if (threadIdx.x == 0) {
      to.shrink[r] = pixel_up * row.pixel * inverse * inverse;
      to.place[r] = row.pixel_index;
    }
    pixel_up *= inverse * row.inverse_text();
  }
  store_coefficients(p, row, to, pixel_up, shared, coefficients);
}

// Split operands of the product below; without splitting, null.
struct TextSplit {
  bf16 *coefficients = nullptr, *text = nullptr;  // [images, 6, texts, N]; [6, texts, D]
};

// out [images, N, D] = (first texts) or += coefficients^T [N, texts] x text [texts, D]
void add_text_terms(LaunchCall &call, const AlignmentProblem &p, const AlignmentGroup &group, const TextSplit &split,
                    float *out) {
  const float *text = p.text + group.text0 * p.width;
  const bool narrow = split.text != nullptr;
  const int64_t k = narrow ? kSplitPieces * group.texts : group.texts;
  GemmArgs args;
  args.narrow = narrow;
  args.params.m = p.pixels;
  args.params.n = p.width;
  args.params.k = k;
  args.params.leads = 1;
  args.params.lead_size[0] = group.images;
  args.params.a.data = group.similarity;
  args.params.a.row_stride = 1;
  args.params.a.k_stride = p.pixels;
  args.params.a.lead_stride[0] = k * p.pixels;
  args.params.b.data = text;
  args.params.b.row_stride = 1;
  args.params.b.k_stride = p.width;
  if (narrow) {
    bf16_split(call, group.similarity, group.images, group.texts * p.pixels, SplitSide::right,
               split.coefficients);
    bf16_split(call, text, 1, group.texts * p.width, SplitSide::left, split.text);
    args.params.a.data = split.coefficients;
    args.params.b.data = split.text;
    args.params.a.dtype = args.params.b.dtype = DType::bf16;
  }
  args.params.epilogue.residual = group.text0 == 0 ? nullptr : out;
  args.params.epilogue.out = out;
  gemm(call, args);
}

constexpr int kHeld = 16;                 // columns of a pixel that a lane adds up at a time
constexpr int kChunk = 32 * kHeld;

// out (+=) the sums over texts of w g, less the shrinking of the pixel's own embedding. One warp a pixel, eight neighbouring
// pixels a block, which share the lines of `weights` that they read; 256 threads, no shared memory.
__global__ void __launch_bounds__(kSelectThreads)
alignment_pixels_bwd_kernel(AlignmentProblem p, AlignmentGroup group, RowGradients from, float *out, unsigned tiles) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int64_t image = blockIdx.x / tiles;
  const int64_t pixel = static_cast<int64_t>(blockIdx.x % tiles) * kSelectWarps + threadIdx.x / 32;
  if (pixel >= p.pixels) return;  // whole warps, and nobody waits for them
  const int64_t row0 = image * group.texts;
  const float *e = p.embeddings + ((group.image0 + image) * p.pixels + pixel) * p.width;
  float *to = out + (image * p.pixels + pixel) * p.width;
  for (int64_t column0 = 0; column0 < p.width; column0 += kChunk) {
    float sum[kHeld] = {};
    float shrink = 0.0f;
    for (int64_t j0 = 0; j0 < group.texts; j0 += 32) {
      const int64_t j = j0 + lane;
      const float weight = j < group.texts ? from.weights[(row0 + j) * p.pixels + pixel] : 0.0f;
      if (p.cosine_pixels && j < group.texts && from.place[row0 + j] == pixel) shrink += from.shrink[row0 + j];
      for (unsigned left = __ballot_sync(kFullMask, weight != 0.0f); left != 0; left &= left - 1) {
        const int source = __ffs(static_cast<int>(left)) - 1;
        const float w = __shfl_sync(kFullMask, weight, source);
        const float *g = from.region + (row0 + j0 + source) * p.width + column0 + lane;
#pragma unroll
        for (int i = 0; i < kHeld; ++i) {
          if (column0 + i * 32 + lane < p.width) sum[i] += w * g[i * 32];
        }
      }
    }
    shrink = warp_sum(shrink);
#pragma unroll
    for (int i = 0; i < kHeld; ++i) {
      const int64_t column = column0 + i * 32 + lane;
      if (column < p.width) to[column] += sum[i] - shrink * e[column];
    }
  }
}

void alignment_stats_bwd(LaunchCall &call) {
  AlignmentProblem p = alignment_problem(call);
  const int64_t sizes[3] = {p.batch * p.width, p.batch * p.texts, p.batch * p.texts};
  const float *given[3];
  for (int i = 0; i < 3; ++i) {
    given[i] = call.has(i + 2) ? call.in(i + 2).as<const float>() : nullptr;
    if (given[i] != nullptr && (call.in(i + 2).numel() != sizes[i] || call.in(i + 2).dtype != DType::f32))
      call.reject("gradients must be [B, D], [B, Q] and [B, Q] in the dtype of the embeddings");
  }
  if (call.out(0).numel() != call.in(0).numel() || call.out(0).dtype != DType::f32)
    call.reject("the output must be like the embeddings");
  if (call.out(0).numel() == 0) return;
  alignment_lengths(call, p);
  AlignmentGroup largest = alignment_largest_group(p);
  const int64_t rows = largest.rows();
  largest.similarity = call.workspace<float>(rows * p.pixels);
  const AlignmentScratch scratch = alignment_scratch(call, p, largest);
  const RowGradients gradients{call.workspace<float>(rows * p.pixels), call.workspace<float>(rows * p.width),
                               call.workspace<float>(rows), call.workspace<int>(rows), call.attr_flag(6)};
  const AlignmentSplit split = alignment_split(call, p, largest);
  TextSplit text_split;
  if (alignment_splits(call, p)) {
    text_split.coefficients = call.workspace<bf16>(kSplitPieces * rows * p.pixels);
    text_split.text = call.workspace<bf16>(kSplitPieces * largest.texts * p.width);
  }
  const Upstream up{given[0], given[1], given[2]};
  const unsigned tiles = blocks_for(p.pixels, kSelectWarps);
  for_each_group(p, largest, [&](const AlignmentGroup &group) {
    float *out = call.out(0).as<float>() + group.image0 * p.pixels * p.width;
    alignment_similarities(call, p, group, split);
    WM_LAUNCH(alignment_rows_bwd_kernel, dim3(blocks_for(group.rows(), 1)), dim3(kSelectThreads), scratch.shared_bytes,
              call.stream(), p, group, scratch, up, gradients);
    add_text_terms(call, p, group, text_split, out);
    WM_LAUNCH(alignment_pixels_bwd_kernel, dim3(blocks_for(group.images * static_cast<int64_t>(tiles), 1)),
              dim3(kSelectThreads), 0, call.stream(), p, group, gradients, out, tiles);
  });
}

}  // namespace

WM_REGISTER_CUDA_OP(alignment_stats_bwd, alignment_stats_bwd, kContiguous)

}  // namespace wm::cuda
