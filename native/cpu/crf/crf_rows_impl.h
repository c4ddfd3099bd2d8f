// The row kernels of crf_rows.h over a `Row<W>` that the including file defines: W floats held in registers, with
// load, store, zero, set_all, max_with, add, add_scaled (+= w * memory), scale, scale_by, subtract_exp, max, sum.
// Included inside an anonymous namespace, once a file.
//
// A row wider than 64 floats is handled in column blocks of 64 and a remainder, so that a block fits the registers. Where
// one block is the whole row, the stride is passed as a constant (`pass(column, W)`): cheaper addresses.

constexpr int64_t kColumns = 64;
// Vertices whose neighbours are fetched ahead in the blur: with many vertices their rows come from memory in no order.
constexpr int64_t kBlurAhead = 24;

// Calls body.template run<W>(column) for every column block of a row.
template <class Body>
inline void for_columns(int64_t width, const Body &body) {
  int64_t column = 0;
  for (; column + kColumns <= width; column += kColumns) body.template run<64>(column);
  switch (width - column) {
    case 4: body.template run<4>(column); break;
    case 8: body.template run<8>(column); break;
    case 16: body.template run<16>(column); break;
    case 24: body.template run<24>(column); break;
    case 32: body.template run<32>(column); break;
    case 40: body.template run<40>(column); break;
    case 48: body.template run<48>(column); break;
    case 56: body.template run<56>(column); break;
    default: break;
  }
}

struct SliceBody {
  const CrfSlice *terms;
  int num_terms;
  int64_t pixels;
  const float *start;
  float *scores;
  int64_t width;

  template <int W>
  void run(int64_t column) const {
    if (width == W) pass<W>(column, W);
    else pass<W>(column, width);
  }

  template <int W>
  __attribute__((always_inline)) inline void pass(int64_t column, int64_t stride) const {
    for (int64_t i = 0; i < pixels; ++i) {
      Row<W> sum;
      sum.load(start + i * stride + column);
      for (int t = 0; t < num_terms; ++t) {
        const CrfSlice &term = terms[t];
        const int corners = term.corners;
        const uint16_t *local = term.local + i * corners;
        const float *weight = term.weight + i * corners;
        const float *rows = term.rows + column;
        if (corners == 3) add_corners<W, 3>(sum, local, weight, term.vertex_of, rows, stride);
        else add_corners<W, 6>(sum, local, weight, term.vertex_of, rows, stride);
      }
      sum.store(scores + i * stride + column);
    }
  }

  template <int W, int Corners>
  static __attribute__((always_inline)) inline void add_corners(Row<W> &sum, const uint16_t *local, const float *weight,
                                                                const uint32_t *vertex_of, const float *rows,
                                                                int64_t stride) {
    for (int m = 0; m < Corners; ++m) sum.add_scaled(weight[m], rows + static_cast<int64_t>(vertex_of[local[m]]) * stride);
  }
};

void slice(const CrfSlice *terms, int num_terms, int64_t pixels, const float *start, float *scores, int64_t width) {
  for_columns(width, SliceBody{terms, num_terms, pixels, start, scores, width});
}

struct SoftmaxBody {
  float *rows;
  int64_t pixels;

  // Narrow rows: everything stays in registers.
  template <int W>
  void run(int64_t) const {
    for (int64_t i = 0; i < pixels; ++i) {
      Row<W> row;
      row.load(rows + i * W);
      row.subtract_exp(row.max());
      row.scale(1.0f / row.sum());
      row.store(rows + i * W);
    }
  }
};

struct MaxBody {
  const float *row;
  float *max;
  template <int W>
  void run(int64_t column) const {
    Row<W> block;
    block.load(row + column);
    const float value = block.max();
    *max = *max > value ? *max : value;
  }
};

struct ExpBody {
  float *row;
  float max;
  float *sum;
  template <int W>
  void run(int64_t column) const {
    Row<W> block;
    block.load(row + column);
    block.subtract_exp(max);
    block.store(row + column);
    *sum += block.sum();
  }
};

struct ScaleBody {
  float *row;
  float factor;
  template <int W>
  void run(int64_t column) const {
    Row<W> block;
    block.load(row + column);
    block.scale(factor);
    block.store(row + column);
  }
};

void softmax(float *rows, int64_t pixels, int64_t width) {
  if (width <= kColumns) {
    for_columns(width, SoftmaxBody{rows, pixels});
    return;
  }
  for (int64_t i = 0; i < pixels; ++i) {
    float *row = rows + i * width;
    float max = row[0], sum = 0.0f;
    for_columns(width, MaxBody{row, &max});
    for_columns(width, ExpBody{row, max, &sum});
    for_columns(width, ScaleBody{row, 1.0f / sum});
  }
}

struct SplatBody {
  const uint16_t *local;
  const float *weight;
  int corners;
  int64_t pixels;
  const float *q;
  float *parts;
  int64_t width;

  template <int W>
  void run(int64_t column) const {
    if (corners == 3) {
      if (width == W) pass<W, 3>(column, W);
      else pass<W, 3>(column, width);
    } else {
      if (width == W) pass<W, 6>(column, W);
      else pass<W, 6>(column, width);
    }
  }

  template <int W, int Corners>
  __attribute__((always_inline)) inline void pass(int64_t column, int64_t stride) const {
    for (int64_t i = 0; i < pixels; ++i) {
      Row<W> row;
      row.load(q + i * stride + column);
      for (int m = 0; m < Corners; ++m) {
        float *part = parts + static_cast<int64_t>(local[i * Corners + m]) * stride + column;
        Row<W> sum;
        sum.load(part);
        sum.add_scaled_row(weight[i * Corners + m], row);
        sum.store(part);
      }
    }
  }
};

void splat(const uint16_t *local, const float *weight, int corners, int64_t pixels, const float *q, float *parts,
           int64_t width) {
  for_columns(width, SplatBody{local, weight, corners, pixels, q, parts, width});
}

struct ReduceBody {
  const uint32_t *part_start, *part;
  const float *parts;
  float *rows;
  int64_t begin, end, width;

  template <int W>
  void run(int64_t column) const {
    const int64_t stride = width;
    for (int64_t v = begin; v < end; ++v) {
      const uint32_t last = part_start[v + 1];
      uint32_t k = part_start[v];
      Row<W> sum;
      sum.load(parts + static_cast<int64_t>(part[k]) * stride + column);
      while (++k < last) sum.add(parts + static_cast<int64_t>(part[k]) * stride + column);
      sum.store(rows + v * stride + column);
    }
  }
};

void reduce(const uint32_t *part_start, const uint32_t *part, const float *parts, float *rows, int64_t begin, int64_t end,
            int64_t width) {
  for_columns(width, ReduceBody{part_start, part, parts, rows, begin, end, width});
}

struct BlurBody {
  const uint32_t *neighbour;
  const float *from;
  float *to;
  const float *factor;
  int64_t begin, end, width;

  template <int W>
  void run(int64_t column) const {
    if (factor != nullptr) pass<W, true>(column, width);
    else if (width == W) pass<W, false>(column, W);
    else pass<W, false>(column, width);
  }

  template <int W>
  static void fetch(const float *row) {
    for (int c = 0; c < W; c += 16) __builtin_prefetch(row + c);
    if (W % 16 != 0) __builtin_prefetch(row + W - 1);
  }

  template <int W, bool Scaled>
  __attribute__((always_inline)) inline void pass(int64_t column, int64_t stride) const {
    Row<W> gain;
    if constexpr (Scaled) gain.load(factor + column);
    for (int64_t v = begin; v < end; ++v) {
      if (v + kBlurAhead < end) {
        fetch<W>(from + static_cast<int64_t>(neighbour[2 * (v + kBlurAhead)]) * stride + column);
        fetch<W>(from + static_cast<int64_t>(neighbour[2 * (v + kBlurAhead) + 1]) * stride + column);
      }
      Row<W> sum;
      sum.load(from + static_cast<int64_t>(neighbour[2 * v]) * stride + column);
      sum.add(from + static_cast<int64_t>(neighbour[2 * v + 1]) * stride + column);
      sum.scale(0.5f);
      sum.add(from + v * stride + column);
      if constexpr (Scaled) sum.scale_by(gain);
      sum.store(to + v * stride + column);
    }
  }
};

void blur(const uint32_t *neighbour, const float *from, float *to, const float *factor, int64_t begin, int64_t end,
          int64_t width) {
  for_columns(width, BlurBody{neighbour, from, to, factor, begin, end, width});
}
