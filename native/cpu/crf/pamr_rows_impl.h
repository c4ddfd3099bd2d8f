// The kernels of pamr_rows.h over a vector type `V` that the including file defines: kLanes floats (a divisor of 16)
// with load, store, set, add, sub, mul, fma, abs, max, sqrt, div, exp; kRings: dilations whose weights fit the
// registers (1 to 3). Included inside an anonymous namespace.

// Weights of one vector of pixels; `lane` is the first pixel within the row.
void affinity_lanes(const PamrRow &row, const float *guide, int channels, int64_t lane, float *weights) {
  const int count = row.neighbours;
  const float repeats = static_cast<float>(count / 8);
  const float samples = 9.0f * repeats;
  V score[kPamrMaxNeighbours];
  for (int k = 0; k < count; ++k) score[k] = V::set(0.0f);
  for (int channel = 0; channel < channels; ++channel) {
    const float *plane = guide + channel * row.plane_stride + lane;
    const V centre = V::load(plane + row.centre);
    V sum = V::mul(centre, V::set(repeats));
    for (int k = 0; k < count; ++k) sum = V::add(sum, V::load(plane + row.offset[k]));
    const V mean = V::mul(sum, V::set(1.0f / samples));
    V deviation = V::sub(centre, mean);
    V squares = V::mul(V::mul(deviation, deviation), V::set(repeats));
    for (int k = 0; k < count; ++k) {
      deviation = V::sub(V::load(plane + row.offset[k]), mean);
      squares = V::fma(deviation, deviation, squares);
    }
    const V std = V::sqrt(V::mul(squares, V::set(1.0f / (samples - 1.0f))));
    const V width = V::fma(std, V::set(0.1f), V::set(1e-8f));
    const V scale = V::div(V::set(-1.0f / static_cast<float>(channels)), width);
    for (int k = 0; k < count; ++k) {
      score[k] = V::fma(V::abs(V::sub(V::load(plane + row.offset[k]), centre)), scale, score[k]);
    }
  }
  V top = score[0];
  for (int k = 1; k < count; ++k) top = V::max(top, score[k]);
  V total = V::set(0.0f);
  for (int k = 0; k < count; ++k) {
    score[k] = V::exp(V::sub(score[k], top));
    total = V::add(total, score[k]);
  }
  const V norm = V::div(V::set(1.0f), total);
  for (int k = 0; k < count; ++k) V::store(weights + kPamrSegment * k, V::mul(score[k], norm));
}

void affinity(const PamrRow &row, const float *guide, int channels, float *weights) {
  for (int64_t segment = row.first_segment; segment < row.last_segment; ++segment) {
    float *out = weights + segment * row.neighbours * kPamrSegment;
    for (int64_t half = 0; half < kPamrSegment; half += V::kLanes) {
      affinity_lanes(row, guide, channels, segment * kPamrSegment + half, out + half);
    }
  }
}

// The eight neighbours at one dilation. The three rows are shifted left by it: elements stand at 0, distance and
// 2 * distance. Weights are single members, as an array would live in memory.
struct Ring {
  const float *above, *level, *below;
  int64_t distance;
  V w0, w1, w2, w3, w4, w5, w6, w7;

  Ring(const PamrRow &row, int ring, const float *weights, const float *from)
      : above(from + row.offset[8 * ring]), level(from + row.offset[8 * ring + 3]), below(from + row.offset[8 * ring + 5]),
        distance(row.offset[8 * ring + 1] - row.offset[8 * ring]) {
    weights += 8 * ring * kPamrSegment;
    w0 = V::load(weights);
    w1 = V::load(weights + kPamrSegment);
    w2 = V::load(weights + 2 * kPamrSegment);
    w3 = V::load(weights + 3 * kPamrSegment);
    w4 = V::load(weights + 4 * kPamrSegment);
    w5 = V::load(weights + 5 * kPamrSegment);
    w6 = V::load(weights + 6 * kPamrSegment);
    w7 = V::load(weights + 7 * kPamrSegment);
  }

  // One sum a row: three short chains of additions in place of a long one.
  void add_to(V &top, V &middle, V &bottom) {
    top = V::fma(w0, V::load(above), top);
    middle = V::fma(w3, V::load(level), middle);
    bottom = V::fma(w5, V::load(below), bottom);
    top = V::fma(w1, V::load(above + distance), top);
    bottom = V::fma(w6, V::load(below + distance), bottom);
    top = V::fma(w2, V::load(above + 2 * distance), top);
    middle = V::fma(w4, V::load(level + 2 * distance), middle);
    bottom = V::fma(w7, V::load(below + 2 * distance), bottom);
  }
  void advance(int64_t plane_stride) {
    above += plane_stride;
    level += plane_stride;
    below += plane_stride;
  }
};

// `Rings` dilations of one vector of pixels, all planes. The first rings start the sums, later ones go on with them.
template <int Rings, bool First>
inline void mix_rings(const PamrRow &row, int ring, const float *weights, const float *from, float *to, int64_t planes) {
  const int64_t plane_stride = row.plane_stride;
  Ring a(row, ring, weights, from), b(row, ring + (Rings > 1 ? 1 : 0), weights, from),
      c(row, ring + (Rings > 2 ? 2 : 0), weights, from);
  to += row.centre;
  for (int64_t plane = 0; plane < planes; ++plane, to += plane_stride) {
    V top = First ? V::set(0.0f) : V::load(to), middle = V::set(0.0f), bottom = V::set(0.0f);
    a.add_to(top, middle, bottom);
    a.advance(plane_stride);
    if constexpr (Rings > 1) {
      b.add_to(top, middle, bottom);
      b.advance(plane_stride);
    }
    if constexpr (Rings > 2) {
      c.add_to(top, middle, bottom);
      c.advance(plane_stride);
    }
    V::store(to, V::add(V::add(top, middle), bottom));
  }
}

template <bool First>
inline int mix_some(const PamrRow &row, int ring, const float *weights, const float *from, float *to, int64_t planes) {
  const int left = row.neighbours / 8 - ring;
  if (kRings >= 3 && left >= 3) {
    mix_rings<3, First>(row, ring, weights, from, to, planes);
    return 3;
  }
  if (kRings >= 2 && left >= 2) {
    mix_rings<2, First>(row, ring, weights, from, to, planes);
    return 2;
  }
  mix_rings<1, First>(row, ring, weights, from, to, planes);
  return 1;
}

void mix(const PamrRow &row, const float *weights, const float *from, float *to, int64_t planes) {
  for (int64_t segment = row.first_segment; segment < row.last_segment; ++segment) {
    const float *weight = weights + segment * row.neighbours * kPamrSegment;
    for (int64_t half = 0; half < kPamrSegment; half += V::kLanes) {
      const int64_t lane = segment * kPamrSegment + half;
      int ring = mix_some<true>(row, 0, weight + half, from + lane, to + lane, planes);
      while (8 * ring < row.neighbours) {
        ring += mix_some<false>(row, ring, weight + half, from + lane, to + lane, planes);
      }
    }
  }
}
