// What one text sees in one image, by one block of 256 threads: softmax over pixels, the region's pixels, its embedding and
// cosine, and the pixel of the given rank. Every sum has one order.
#pragma once

#include <cmath>

#include "cuda/core/reduce.cuh"
#include "cuda/loss/alignment.h"
#include "cuda/loss/alignment_select.cuh"

namespace wm::cuda {

struct AlignmentShared {
  SelectShared select;
  float sums[32];
};

class AlignmentRow {
 public:
  // values [pixels], weights and products [most chosen], region [width], indices [most chosen]
  static __host__ __device__ int64_t scratch_floats(const AlignmentProblem &p) {
    return p.pixels + 3 * p.most_chosen() + p.width;
  }

  __device__ AlignmentRow(const AlignmentProblem &p, const AlignmentGroup &group, int64_t row, float *scratch,
                          AlignmentShared &shared)
      : image(group.image0 + row / group.texts), text(group.text0 + row % group.texts),
        own(text == p.first + image), pixels(static_cast<int>(p.pixels)), width(static_cast<int>(p.width)),
        count(static_cast<int>(own ? p.positives : p.negatives)), rows(p.embeddings + image * p.pixels * p.width),
        text_row(p.text + text * p.width), values(scratch), weights(values + p.pixels),
        products(weights + p.most_chosen()), region(products + p.most_chosen()),
        indices(reinterpret_cast<int *>(region + p.width)), p_(p), shared_(shared) {}

  __device__ void analyse(const float *similarity) {
    softmax(similarity);
    choose_region();
    embed_region();
    choose_pixel();
  }

  __device__ float probability(int p) const {
    return expf((values[p] - top) * p_.inverse_temperature) * inverse_total;
  }
  __device__ float inverse_text() const { return p_.inverse_texts[text]; }
  __device__ float inverse_pixel(int p) const { return p_.inverse_pixels[image * p_.pixels + p]; }

  const int64_t image, text;
  const bool own;
  const int pixels, width, count;
  const float *rows, *text_row;
  float *values, *weights, *products, *region;
  int *indices;
  int pixel_index = 0;
  float top = 0, inverse_total = 0, inverse_region = 0, cosine = 0, pixel = 0;

 private:
  __device__ void softmax(const float *similarity) {
    float high = -INFINITY;
    bool finite = true;
    for (int p = static_cast<int>(threadIdx.x); p < pixels; p += kSelectThreads) {
      const float value = similarity[p];
      values[p] = value;
      high = fmaxf(high, value);
      finite = finite && fabsf(value) < INFINITY;
    }
    top = block_max(high, shared_.sums);
    float total = 0.0f;
    for (int p = static_cast<int>(threadIdx.x); p < pixels; p += kSelectThreads)
      total += expf((values[p] - top) * p_.inverse_temperature);
    inverse_total = 1.0f / block_sum(total, shared_.sums);
    // No order among values that are not finite: the first pixels stand for them.
    finite_ = __syncthreads_and(finite) != 0;
  }

  __device__ void choose_region() {
    if (finite_) {
      const auto value = [this](int p) { return values[p]; };
      const Selection chosen = kth_largest(value, pixels, count, shared_.select);
      each_selected(value, pixels, chosen, shared_.select, [this](int place, int p, bool) { choose(place, p); });
    } else {
      for (int i = static_cast<int>(threadIdx.x); i < count; i += kSelectThreads) choose(i, i);
    }
    __syncthreads();
  }

  __device__ void choose(int place, int p) {
    indices[place] = p;
    weights[place] = probability(p);
  }

  __device__ void embed_region() {
    float squares = 0.0f, along = 0.0f;
    for (int c = static_cast<int>(threadIdx.x); c < width; c += kSelectThreads) {
      float sum = 0.0f;
#pragma unroll 4
      for (int i = 0; i < count; ++i) sum += weights[i] * rows[static_cast<int64_t>(indices[i]) * width + c];
      region[c] = sum;
      squares += sum * sum;
      along += sum * text_row[c];
    }
    inverse_region = 1.0f / fmaxf(sqrtf(block_sum(squares, shared_.sums)), 1e-12f);
    cosine = block_sum(along, shared_.sums) * inverse_region * inverse_text();
  }

  __device__ float candidate(int p) const {
    return p_.cosine_pixels ? values[p] * (inverse_pixel(p) * inverse_text()) : values[p];
  }

  __device__ void choose_pixel() {
    const auto value = [this](int p) { return candidate(p); };
    if (own && p_.rank > 1) {
      if (finite_) {
        const Selection ranked = kth_largest(value, pixels, static_cast<int>(p_.rank), shared_.select);
        each_selected(value, pixels, ranked, shared_.select, [this](int, int p, bool last) {
          if (last) shared_.select.index = p;
        });
        __syncthreads();
        pixel_index = shared_.select.index;
      } else {
        pixel_index = static_cast<int>(p_.rank) - 1;
      }
    } else {
      pixel_index = first_largest();
    }
    pixel = candidate(pixel_index);
    __syncthreads();
  }

  __device__ int first_largest() {
    float high = -INFINITY;
    for (int p = static_cast<int>(threadIdx.x); p < pixels; p += kSelectThreads) high = fmaxf(high, candidate(p));
    if (threadIdx.x == 0) shared_.select.index = pixels;
    high = block_max(high, shared_.sums);
    for (int p = static_cast<int>(threadIdx.x); p < pixels; p += kSelectThreads) {
      if (candidate(p) == high) {
        atomicMin(&shared_.select.index, p);
        break;
      }
    }
    __syncthreads();
    const int found = shared_.select.index;
    return finite_ && found < pixels ? found : 0;
  }

  const AlignmentProblem &p_;
  AlignmentShared &shared_;
  bool finite_ = true;
};

}  // namespace wm::cuda
