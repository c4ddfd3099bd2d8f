// Row kernels of the dense CRF: arithmetic on rows of `width` floats, one float a class, padded. One table an
// instruction set. Pixels are given in blocks of at most kCrfBlock, whose scores stay in the first-level cache.
#pragma once

#include <cstdint>

namespace wm {

constexpr int64_t kCrfBlock = 64;

// What a term adds to a block of pixels: sum over corners of weight * rows[vertex_of[local]].
struct CrfSlice {
  const uint16_t *local;      // [pixels, corners]
  const float *weight;        // [pixels, corners]
  const uint32_t *vertex_of;  // local number -> row
  const float *rows;          // [vertices + 1, width]
  int corners;
};

struct CrfRowKernels {
  // scores[i] = start[i] + all slices, in the order of the terms and corners. scores, start: [pixels, width].
  void (*slice)(const CrfSlice *terms, int num_terms, int64_t pixels, const float *start, float *scores, int64_t width);
  // Softmax of each row, in place. Padding must hold -infinity and gets 0.
  void (*softmax)(float *rows, int64_t pixels, int64_t width);
  // parts[local] += weight * q, pixel by pixel. parts: rows of one chunk.
  void (*splat)(const uint16_t *local, const float *weight, int corners, int64_t pixels, const float *q, float *parts,
                int64_t width);
  // rows[v] = sum of parts[part[k]] over the vertex's list, for v in [begin, end).
  void (*reduce)(const uint32_t *part_start, const uint32_t *part, const float *parts, float *rows, int64_t begin,
                 int64_t end, int64_t width);
  // to[v] = factor * (from[v] + 0.5 * (from[below] + from[above])); factor: [width], or null for 1.
  void (*blur)(const uint32_t *neighbour, const float *from, float *to, const float *factor, int64_t begin, int64_t end,
               int64_t width);
};

// The table for cpu_isa().
const CrfRowKernels &crf_row_kernels();

// Floats of a row for C classes: 4, 8, or the next multiple of 8.
inline int64_t crf_row_width(int64_t classes) { return classes <= 4 ? 4 : (classes + 7) / 8 * 8; }

extern const CrfRowKernels kCrfRowsPortable;
#if defined(__x86_64__)
extern const CrfRowKernels kCrfRowsAvx2;
extern const CrfRowKernels kCrfRowsAvx512;
#endif

}  // namespace wm
