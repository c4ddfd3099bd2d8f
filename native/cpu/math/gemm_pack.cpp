// Packing of matrix operands into panels: vector code where k is consecutive, portable loops elsewhere.
#include <algorithm>
#include <cstring>

#include "native/cpu/math/gemm.h"

namespace wm {

namespace {

// Full panels of consecutive f32 rows: a copy whose length the compiler knows.
template <int kWidth>
void copy_rows(const float *src, int64_t k_stride, int64_t k, float *panel) {
  for (int64_t i = 0; i < k; ++i) std::memcpy(panel + i * kWidth, src + i * k_stride, kWidth * sizeof(float));
}

bool pack_by_copy(const float *src, int64_t k_stride, int width, int64_t k, float *panel) {
  switch (width) {
    case 48: copy_rows<48>(src, k_stride, k, panel); return true;
    case 16: copy_rows<16>(src, k_stride, k, panel); return true;
    case 8: copy_rows<8>(src, k_stride, k, panel); return true;
    case 6: copy_rows<6>(src, k_stride, k, panel); return true;
    default: return false;
  }
}

template <class Source>
void pack_f32(const Source *src, int64_t row_stride, int64_t k_stride, int rows, int width, int64_t k,
              float *panel) {
  if constexpr (sizeof(Source) == 4) {
    if (row_stride == 1 && rows == width && pack_by_copy(src, k_stride, width, k, panel)) return;
  }
  for (int64_t i = 0; i < k; ++i) {
    float *to = panel + i * width;
    const Source *from = src + i * k_stride;
    if (row_stride == 1) {
      for (int r = 0; r < rows; ++r) to[r] = to_float(from[r]);
    } else {
      for (int r = 0; r < rows; ++r) to[r] = to_float(from[r * row_stride]);
    }
    for (int r = rows; r < width; ++r) to[r] = 0.0f;
  }
}

inline uint32_t bf16_bits(bf16 x) { return x.bits; }
inline uint32_t bf16_bits(float x) { return to_bf16(x).bits; }
inline uint32_t bf16_bits(f16 x) { return to_bf16(to_float(x)).bits; }

// Pairs of consecutive rows; with a width the compiler knows it interleaves whole vectors.
template <int kWidth, class Source>
void interleave(const Source *first, const Source *second, uint32_t *to) {
  for (int r = 0; r < kWidth; ++r) to[r] = bf16_bits(first[r]) | bf16_bits(second[r]) << 16;
}

template <class Source>
void pack_pairs(const Source *src, int64_t row_stride, int64_t k_stride, int rows, int width, int64_t k,
                uint32_t *panel) {
  for (int64_t i = 0; i < k; i += 2) {
    uint32_t *to = panel + i / 2 * width;
    const Source *first = src + i * k_stride;
    if (i + 1 == k) {
      for (int r = 0; r < rows; ++r) to[r] = bf16_bits(first[r * row_stride]);
    } else if (row_stride == 1 && rows == width && width == 48) {
      interleave<48>(first, first + k_stride, to);
    } else if (row_stride == 1 && rows == width && width == 8) {
      interleave<8>(first, first + k_stride, to);
    } else if (row_stride == 1) {
      const Source *second = first + k_stride;
      for (int r = 0; r < rows; ++r) to[r] = bf16_bits(first[r]) | bf16_bits(second[r]) << 16;
    } else {
      const Source *second = first + k_stride;
      for (int r = 0; r < rows; ++r) {
        to[r] = bf16_bits(first[r * row_stride]) | bf16_bits(second[r * row_stride]) << 16;
      }
    }
    for (int r = rows; r < width; ++r) to[r] = 0;
  }
}

template <class Source>
void pack_portable(const Source *src, const GemmOperand &source, int rows, int width, int64_t k, bool pairs,
                   void *panel) {
  if (pairs) {
    pack_pairs(src, source.row_stride, source.k_stride, rows, width, k, static_cast<uint32_t *>(panel));
  } else {
    pack_f32(src, source.row_stride, source.k_stride, rows, width, k, static_cast<float *>(panel));
  }
}

// `rows` and k with one stride each; `start` is the first element.
void pack_plain(const GemmKernels &kernels, const GemmOperand &source, int64_t start, int rows, int width,
                int64_t k, bool pairs, void *panel) {
  const bool vector = kernels.pack_f32_from_f32 != nullptr && source.k_stride == 1;
  switch (source.dtype) {
    case DType::f32: {
      const float *src = static_cast<const float *>(source.data) + start;
      if (!vector) return pack_portable(src, source, rows, width, k, pairs, panel);
      if (pairs) {
        return kernels.pack_pairs_from_f32(src, source.row_stride, rows, width, k,
                                           static_cast<uint32_t *>(panel));
      }
      return kernels.pack_f32_from_f32(src, source.row_stride, rows, width, k, static_cast<float *>(panel));
    }
    case DType::bf16: {
      const bf16 *src = static_cast<const bf16 *>(source.data) + start;
      if (!vector) return pack_portable(src, source, rows, width, k, pairs, panel);
      if (pairs) {
        return kernels.pack_pairs_from_bf16(src, source.row_stride, rows, width, k,
                                            static_cast<uint32_t *>(panel));
      }
      return kernels.pack_f32_from_bf16(src, source.row_stride, rows, width, k, static_cast<float *>(panel));
    }
    case DType::f16:
      return pack_portable(static_cast<const f16 *>(source.data) + start, source, rows, width, k, pairs,
                           panel);
    default: fail(Status::internal, "gemm: cannot pack %s", dtype_name(source.dtype));
  }
}

int64_t place(int64_t i, int64_t stride, int64_t run, const int64_t *starts) {
  return starts == nullptr ? i * stride : starts[i / run] + i % run * stride;
}

// Elements of k that are gathered at a time where rows or k change their run within a panel.
constexpr int64_t kGatherRun = 128;

template <class Source>
void gather(const GemmOperand &source, int64_t offset, int64_t row, int rows, int64_t k0, int64_t k,
            void *to) {
  const Source *src = static_cast<const Source *>(source.data) + offset;
  for (int r = 0; r < rows; ++r) {
    const Source *from = src + place(row + r, source.row_stride, source.row_run, source.row_starts);
    Source *line = static_cast<Source *>(to) + r * k;
    for (int64_t i = 0; i < k;) {
      const int64_t at = k0 + i;
      const int64_t n = source.k_starts == nullptr ? k : std::min(k - i, source.k_run - at % source.k_run);
      const Source *run = from + place(at, source.k_stride, source.k_run, source.k_starts);
      if (source.k_stride == 1) {
        std::memcpy(line + i, run, static_cast<size_t>(n) * sizeof(Source));
      } else {
        for (int64_t j = 0; j < n; ++j) line[i + j] = run[j * source.k_stride];
      }
      i += n;
    }
  }
}

// An operand in runs: stretches of k that lie in one run are packed in place, the rest through a copy.
void pack_runs(const GemmKernels &kernels, const GemmOperand &source, int64_t offset, int64_t row, int rows,
               int width, int64_t k0, int64_t k, bool pairs, void *panel) {
  const bool even_rows = source.row_starts == nullptr || row % source.row_run + rows <= source.row_run;
  const int64_t row_place = place(row, source.row_stride, source.row_run, source.row_starts);
  alignas(64) float copy[kGatherRun * kMaxTileCols];
  for (int64_t i = 0; i < k;) {
    const int64_t at = k0 + i, left = k - i;
    int64_t n = source.k_starts == nullptr ? left : std::min(left, source.k_run - at % source.k_run);
    if (pairs && n < left) n -= n % 2;  // a pair must not be torn
    uint32_t *to = static_cast<uint32_t *>(panel) + (pairs ? i / 2 : i) * width;
    if (even_rows && n > 0) {
      const int64_t start = offset + row_place + place(at, source.k_stride, source.k_run, source.k_starts);
      pack_plain(kernels, source, start, rows, width, n, pairs, to);
    } else {
      n = std::min(n == 0 ? 2 : n, std::min(left, kGatherRun));
      const bool narrow = source.dtype != DType::f32;
      if (narrow) {
        gather<uint16_t>(source, offset, row, rows, at, n, copy);
      } else {
        gather<float>(source, offset, row, rows, at, n, copy);
      }
      GemmOperand copied;
      copied.data = copy;
      copied.dtype = source.dtype;
      copied.row_stride = n;
      copied.k_stride = 1;
      pack_plain(kernels, copied, 0, rows, width, n, pairs, to);
    }
    i += n;
  }
}

}  // namespace

void gemm_pack_panel(const GemmKernels &kernels, const GemmOperand &source, int64_t offset, int64_t row,
                     int rows, int width, int64_t k0, int64_t k, bool pairs, void *panel) {
  if (source.row_starts != nullptr || source.k_starts != nullptr)
    return pack_runs(kernels, source, offset, row, rows, width, k0, k, pairs, panel);
  const int64_t start = offset + row * source.row_stride + k0 * source.k_stride;
  pack_plain(kernels, source, start, rows, width, k, pairs, panel);
}

bool gemm_reads_in_place(const GemmArgs &args, const GemmKernels &kernels, bool dot_pairs) {
  const GemmOperand &a = args.a;
  if (a.k_stride != 1 || a.row_starts != nullptr || a.k_starts != nullptr) return false;
  if (dot_pairs) return a.dtype == DType::bf16 && args.k % 2 == 0 && kernels.tile_pairs_in_place != nullptr;
  return a.dtype == DType::f32 && !args.pairs && kernels.tile_f32_in_place != nullptr;
}

void gemm_expand_panel(const uint32_t *pairs, int width, int64_t k, float *panel) {
  for (int64_t i = 0; i < k; ++i) {
    const uint32_t *from = pairs + i / 2 * width;
    float *to = panel + i * width;
    if (i % 2 == 0) {
      for (int r = 0; r < width; ++r) to[r] = float_from_bits(from[r] << 16);
    } else {
      for (int r = 0; r < width; ++r) to[r] = float_from_bits(from[r] & 0xffff0000u);
    }
  }
}

int64_t gemm_packed_bytes(int64_t n, int64_t k, bool pairs) {
  const int64_t columns = (n + kPackedColumns - 1) / kPackedColumns * kPackedColumns;
  return columns * (pairs ? (k + 1) / 2 : k) * 4;
}

void gemm_pack_all(OpCall &call, const GemmOperand &b, int64_t n, int64_t k, bool pairs, void *out) {
  const GemmKernels &kernels = gemm_kernels();
  const int width = kernels.tile_cols;
  const int64_t panels = (n + width - 1) / width;
  const int64_t units = pairs ? (k + 1) / 2 : k;
  call.parallel(panels, 1, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      const int rows = static_cast<int>(std::min<int64_t>(width, n - p * width));
      gemm_pack_panel(kernels, b, 0, p * width, rows, width, 0, k, pairs,
                      static_cast<uint32_t *>(out) + p * units * width);
    }
  });
}

}  // namespace wm
