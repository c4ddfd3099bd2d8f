// What forward and backward of alignment_stats share on the host: the checked problem and how it is cut. A group of
// (image, text) rows is worked at a time, at most 32 MiB of similarities; nothing grows with images x texts x pixels.
#pragma once

#include "cuda/core/op.h"

namespace wm::cuda {

struct AlignmentProblem {
  const float *embeddings, *text;             // [batch, pixels, width], [texts, width]
  int64_t batch, pixels, width, texts;
  int64_t positives, negatives, rank, first;  // image i belongs to text first + i
  float inverse_temperature;
  bool cosine_pixels;
  const float *inverse_texts, *inverse_pixels;  // 1 / length of each text and pixel; the latter for cosine_pixels

  __host__ __device__ int64_t most_chosen() const { return positives > negatives ? positives : negatives; }
};

// Images [image0, image0 + images) against texts [text0, text0 + texts): rows (image, text) in this order.
struct AlignmentGroup {
  int64_t image0, images, text0, texts;
  float *similarity;  // [images, texts, pixels]
  int64_t rows() const { return images * texts; }
};

// Scratch memory of a row: in shared memory, or in `memory` where it is too large for that.
struct AlignmentScratch {
  float *memory = nullptr;
  int64_t stride = 0;  // floats a row
  size_t shared_bytes = 0;
};

AlignmentProblem alignment_problem(LaunchCall &call);
// Fills inverse_texts and inverse_pixels.
void alignment_lengths(LaunchCall &call, AlignmentProblem &p);
// Whether products go through bf16 units, each f32 operand as the sum of three bf16.
bool alignment_splits(const LaunchCall &call, const AlignmentProblem &p);
// Texts and images of a group; texts a group follow from their number and the pixels alone.
AlignmentGroup alignment_largest_group(const AlignmentProblem &p);
AlignmentScratch alignment_scratch(LaunchCall &call, const AlignmentProblem &p, const AlignmentGroup &largest);
// Split operands of the similarities; without splitting, null.
struct AlignmentSplit {
  bf16 *text = nullptr, *embeddings = nullptr;  // [texts, 6, width]; [images of a group, pixels, 6, width]
};
AlignmentSplit alignment_split(LaunchCall &call, const AlignmentProblem &p, const AlignmentGroup &largest);
// group.similarity = text x embeddings^T
void alignment_similarities(LaunchCall &call, const AlignmentProblem &p, const AlignmentGroup &group,
                            const AlignmentSplit &split);

// body(group) over all groups: images outermost, the texts of an image in order.
template <class Body>
void for_each_group(const AlignmentProblem &p, const AlignmentGroup &largest, const Body &body) {
  AlignmentGroup group = largest;
  for (group.image0 = 0; group.image0 < p.batch; group.image0 += largest.images) {
    group.images = largest.images < p.batch - group.image0 ? largest.images : p.batch - group.image0;
    for (group.text0 = 0; group.text0 < p.texts; group.text0 += largest.texts) {
      group.texts = largest.texts < p.texts - group.text0 ? largest.texts : p.texts - group.text0;
      body(group);
    }
  }
}

}  // namespace wm::cuda
