#include "native/cpu/crf/crf_lattice.h"

#include <array>
#include <cstring>
#include <list>
#include <mutex>
#include <numeric>

#include "native/cpu/crf/crf_geometry.h"
#include "native/cpu/crf/crf_vertex_table.h"

namespace wm {

namespace {

using WideKey = unsigned __int128;

constexpr int64_t kVertexGrain = 4096;

template <int D>
ElevationTables<D> make_tables(const PixelOrder &order, const CrfSpec &spec) {
  int64_t count[5] = {order.width(), order.height(), 256, 256, 256};
  ElevationTables<D> tables;
  tables.fill(count, spec.scale);
  return tables;
}

// Bits a field needs: all vertices of all pixels (within 3(d+1) of e) and their neighbours (d further).
template <int D>
int field_bits(const OpCall &call, const ElevationTables<D> &tables, int i, int64_t *bias) {
  double low, high;
  tables.bounds(i, &low, &high);
  check_crf_span(call, D, high - low);
  const int64_t margin = 4 * (D + 1) + 2;
  *bias = static_cast<int64_t>(std::ceil(-low)) + margin;
  const int64_t span = static_cast<int64_t>(std::ceil(high)) + *bias + margin;
  int bits = 1;
  while ((int64_t{1} << bits) <= span) ++bits;
  return bits;
}

template <int D, class Key>
class LatticeBuilder {
 public:
  LatticeBuilder(const OpCall &call, const PixelOrder &order, const uint8_t *image,
                 const ElevationTables<D> &tables, const KeyCodec<D, Key> &codec)
      : call_(call), order_(order), image_(image), tables_(tables), codec_(codec), out_(std::make_shared<Lattice>()) {
    out_->corners = D + 1;
    out_->pixels = order.size();
  }

  std::shared_ptr<Lattice> build(CrfNormalisation normalisation) {
    number_locals();
    ArenaArray<Key> keys(out_->partial_rows());
    {
      VertexTable<Key> table(keys.data(), out_->partial_rows() / 2);
      number_vertices(&table);
      find_neighbours(table);
    }
    list_parts();
    normalise(normalisation);
    return out_;
  }

 private:
  static constexpr int kCorners = D + 1;

  // Geometry of every pixel; corners numbered within each chunk by first appearance.
  void number_locals() {
    const int64_t n = order_.size();
    out_->local = ArenaArray<uint16_t>(n * kCorners);
    out_->weight_in = ArenaArray<float>(n * kCorners);
    local_keys_ = ArenaArray<Key>(n * kCorners);
    local_count_ = ArenaArray<uint32_t>(order_.chunks());
    call_.parallel(order_.chunks(), 1, [&](int64_t begin, int64_t end) {
      for (int64_t chunk = begin; chunk < end; ++chunk) number_chunk(chunk);
    });
    out_->local_start = ArenaArray<uint32_t>(order_.chunks() + 1);
    uint32_t rows = 0;
    for (int64_t chunk = 0; chunk < order_.chunks(); ++chunk) {
      out_->local_start[chunk] = rows;
      rows += local_count_[chunk];
    }
    out_->local_start[order_.chunks()] = rows;
    out_->vertex_of = ArenaArray<uint32_t>(rows);
  }

  void number_chunk(int64_t chunk) {
    const int64_t first = order_.chunk_begin(chunk), last = order_.chunk_end(chunk);
    VertexTable<Key> table(local_keys_.data() + first * kCorners, 512);
    Simplex<D, Key> simplex;
    Key previous[kCorners];
    uint32_t previous_local[kCorners];
    for (int m = 0; m < kCorners; ++m) {
      previous[m] = ~static_cast<Key>(0);  // no key has all bits set: fields leave a margin
      previous_local[m] = 0;
    }
    for (int64_t i = first; i < last; ++i) {
      locate(i, &simplex);
      for (int m = 0; m < kCorners; ++m) {
        if (simplex.key[m] != previous[m]) {
          previous[m] = simplex.key[m];
          previous_local[m] = table.find_or_insert(simplex.key[m]);
        }
        out_->local[i * kCorners + m] = static_cast<uint16_t>(previous_local[m]);
        out_->weight_in[i * kCorners + m] = simplex.weight[m];
      }
    }
    local_count_[chunk] = table.count();
  }

  void locate(int64_t i, Simplex<D, Key> *simplex) const {
    int32_t value[5] = {static_cast<int32_t>(order_.x(i)), static_cast<int32_t>(order_.y(i)), 0, 0, 0};
    if constexpr (D == 5) {
      const uint8_t *colour = image_ + 3 * order_.pixel(i);
      for (int j = 0; j < 3; ++j) value[2 + j] = colour[j];
    }
    float e[kCorners];
    tables_.elevate(value, e);
    find_simplex<D, Key>(codec_, e, simplex);
  }

  // Numbers vertices over all chunks in order, so that rows used together lie together.
  void number_vertices(VertexTable<Key> *table) {
    for (int64_t chunk = 0; chunk < order_.chunks(); ++chunk) {
      call_.check_cancelled();
      const Key *keys = local_keys_.data() + order_.chunk_begin(chunk) * kCorners;
      const uint32_t first = out_->local_start[chunk], rows = local_count_[chunk];
      for (uint32_t row = 0; row < rows; ++row) out_->vertex_of[first + row] = table->find_or_insert(keys[row]);
    }
    out_->vertices = table->count();
    local_keys_.reset();
  }

  // u is above v along an axis exactly where v is below u, so one search serves both entries; each entry has one writer.
  void find_neighbours(const VertexTable<Key> &table) {
    const int64_t vertices = out_->vertices;
    out_->neighbour = ArenaArray<uint32_t>(kCorners * vertices * 2);
    uint32_t *neighbour = out_->neighbour.data();
    call_.parallel(kCorners * vertices * 2, 1 << 16, [&](int64_t begin, int64_t end) {
      std::fill(neighbour + begin, neighbour + end, static_cast<uint32_t>(vertices));
    });
    call_.parallel(vertices, kVertexGrain, [&](int64_t begin, int64_t end) {
      for (int64_t v = begin; v < end; ++v) {
        const Key key = table.keys()[v];
        for (int axis = 0; axis < kCorners; ++axis) {
          const uint32_t above = table.find(key + codec_.ones - codec_.big[axis]);
          if (above == VertexTable<Key>::kNone) continue;
          uint32_t *row = neighbour + axis * vertices * 2;
          row[2 * v + 1] = above;
          row[2 * static_cast<int64_t>(above)] = static_cast<uint32_t>(v);
        }
      }
    });
  }

  // Partial rows by vertex: a counting sort, stable, so each list ascends.
  void list_parts() {
    const int64_t rows = out_->partial_rows(), vertices = out_->vertices;
    out_->part_start = ArenaArray<uint32_t>(vertices + 1);
    out_->part = ArenaArray<uint32_t>(rows);
    uint32_t *start = out_->part_start.data();
    std::memset(start, 0, out_->part_start.bytes());
    for (int64_t row = 0; row < rows; ++row) ++start[out_->vertex_of[row] + 1];
    std::partial_sum(start, start + vertices + 1, start);
    for (int64_t row = 0; row < rows; ++row) out_->part[start[out_->vertex_of[row]]++] = static_cast<uint32_t>(row);
    // Filling moved every start to the next vertex's.
    std::memmove(start + 1, start, static_cast<size_t>(vertices) * sizeof(uint32_t));
    start[0] = 0;
  }

  // Folds n = K(1) into the weights (section 6). `none` needs no norm: one factor for all pixels is not applied.
  void normalise(CrfNormalisation normalisation) {
    if (normalisation == CrfNormalisation::none) return;
    const int64_t vertices = out_->vertices;
    ArenaArray<float> rows(vertices + 1);
    filter_ones(rows.data());
    if (normalisation != CrfNormalisation::symmetric) out_->weight_out = ArenaArray<float>(out_->weight_in.size());
    const float alpha = out_->alpha();
    call_.parallel(order_.chunks(), 1, [&](int64_t begin, int64_t end) {
      for (int64_t chunk = begin; chunk < end; ++chunk) {
        const uint32_t *vertex_of = out_->vertex_of.data() + out_->local_start[chunk];
        for (int64_t i = order_.chunk_begin(chunk); i < order_.chunk_end(chunk); ++i) {
          float sum = 0.0f;
          for (int64_t k = i * kCorners; k < (i + 1) * kCorners; ++k) {
            sum += (out_->weight_in[k] * alpha) * rows[vertex_of[out_->local[k]]];
          }
          scale_pixel(normalisation, i, sum);
        }
      }
    });
  }

  void scale_pixel(CrfNormalisation normalisation, int64_t i, float sum) {
    const bool symmetric = normalisation == CrfNormalisation::symmetric;
    const float norm = symmetric ? 1.0f / std::sqrt(sum + 1e-20f) : 1.0f / (sum + 1e-20f);
    for (int64_t k = i * kCorners; k < (i + 1) * kCorners; ++k) {
      const float b = out_->weight_in[k];
      if (!symmetric) out_->weight_out[k] = normalisation == CrfNormalisation::after ? b * norm : b;
      if (normalisation != CrfNormalisation::after) out_->weight_in[k] = b * norm;
    }
  }

  // Splat and blur of an image of ones; rows[M] is the row of a missing neighbour.
  void filter_ones(float *rows) {
    const int64_t vertices = out_->vertices;
    ArenaArray<float> parts(out_->partial_rows()), other(vertices + 1);
    call_.parallel(order_.chunks(), 1, [&](int64_t begin, int64_t end) {
      for (int64_t chunk = begin; chunk < end; ++chunk) {
        float *own = parts.data() + out_->local_start[chunk];
        std::memset(own, 0, sizeof(float) * local_count_[chunk]);
        const int64_t last = order_.chunk_end(chunk) * kCorners;
        for (int64_t k = order_.chunk_begin(chunk) * kCorners; k < last; ++k) own[out_->local[k]] += out_->weight_in[k];
      }
    });
    float *from = kCorners % 2 == 0 ? rows : other.data(), *to = kCorners % 2 == 0 ? other.data() : rows;
    from[vertices] = to[vertices] = 0.0f;
    call_.parallel(vertices, kVertexGrain, [&](int64_t begin, int64_t end) {
      for (int64_t v = begin; v < end; ++v) {
        float sum = 0.0f;
        for (uint32_t k = out_->part_start[v]; k < out_->part_start[v + 1]; ++k) sum += parts[out_->part[k]];
        from[v] = sum;
      }
    });
    for (int axis = 0; axis < kCorners; ++axis) {
      const uint32_t *pair = out_->neighbour.data() + axis * vertices * 2;
      call_.parallel(vertices, kVertexGrain, [&](int64_t begin, int64_t end) {
        for (int64_t v = begin; v < end; ++v) to[v] = from[v] + 0.5f * (from[pair[2 * v]] + from[pair[2 * v + 1]]);
      });
      std::swap(from, to);
    }
  }

  const OpCall &call_;
  const PixelOrder &order_;
  const uint8_t *image_;
  const ElevationTables<D> &tables_;
  const KeyCodec<D, Key> codec_;
  std::shared_ptr<Lattice> out_;
  ArenaArray<Key> local_keys_;       // chunk c's distinct keys start at chunk_begin(c) * (d+1)
  ArenaArray<uint32_t> local_count_;
};

template <int D, class Key>
std::shared_ptr<Lattice> build_with_key(const OpCall &call, const PixelOrder &order, const uint8_t *image,
                                        const ElevationTables<D> &tables, const int *bits, const int64_t *bias,
                                        CrfNormalisation normalisation) {
  KeyCodec<D, Key> codec;
  int shift = 0;
  for (int i = 0; i < D; ++i) {
    codec.shift[i] = shift;
    codec.bias[i] = bias[i];
    shift += bits[i];
  }
  codec.finish();
  return LatticeBuilder<D, Key>(call, order, image, tables, codec).build(normalisation);
}

template <int D>
std::shared_ptr<Lattice> build_lattice(const OpCall &call, const PixelOrder &order, const uint8_t *image,
                                       const CrfSpec &spec) {
  const ElevationTables<D> tables = make_tables<D>(order, spec);
  int bits[D], total = 0;
  int64_t bias[D];
  for (int i = 0; i < D; ++i) total += bits[i] = field_bits<D>(call, tables, i, &bias[i]);
  // At most 24 bits a field, so 128 always hold five.
  if (total <= 63) return build_with_key<D, uint64_t>(call, order, image, tables, bits, bias, spec.normalisation);
  return build_with_key<D, WideKey>(call, order, image, tables, bits, bias, spec.normalisation);
}

// The last few position-only lattices. Bounded in number and bytes; entries in use elsewhere live on by reference.
class LatticeCache {
 public:
  using Id = std::array<int64_t, 6>;

  static Id id_of(const PixelOrder &order, const CrfSpec &spec) {
    return {order.width(), order.height(), order.chunk_pixels(), float_bits(spec.scale[0]), float_bits(spec.scale[1]),
            static_cast<int64_t>(spec.normalisation)};
  }

  std::shared_ptr<const Lattice> find(const Id &id) {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (auto it = entries_.begin(); it != entries_.end(); ++it) {
      if (it->first != id) continue;
      entries_.splice(entries_.begin(), entries_, it);
      return it->second;
    }
    return nullptr;
  }

  void add(const Id &id, const std::shared_ptr<const Lattice> &lattice) {
    if (lattice->bytes() > kMaxBytes) return;
    const std::lock_guard<std::mutex> lock(mutex_);
    for (const auto &entry : entries_) {
      if (entry.first == id) return;  // another thread was faster
    }
    entries_.emplace_front(id, lattice);
    size_t bytes = 0, kept = 0;
    for (auto it = entries_.begin(); it != entries_.end();) {
      bytes += it->second->bytes();
      it = bytes > kMaxBytes || ++kept > kMaxEntries ? entries_.erase(it) : std::next(it);
    }
  }

 private:
  static constexpr size_t kMaxEntries = 4;
  static constexpr size_t kMaxBytes = size_t{128} << 20;
  std::mutex mutex_;
  std::list<std::pair<Id, std::shared_ptr<const Lattice>>> entries_;
};

}  // namespace

size_t Lattice::bytes() const {
  return local.bytes() + weight_in.bytes() + weight_out.bytes() + local_start.bytes() + vertex_of.bytes() +
         part_start.bytes() + part.bytes() + neighbour.bytes();
}

std::shared_ptr<const Lattice> make_lattice(const OpCall &call, const PixelOrder &order, const uint8_t *image,
                                            const CrfSpec &spec) {
  if (spec.dims == 5) return build_lattice<5>(call, order, image, spec);
  // Never destroyed: a call may still run while static destructors do.
  static LatticeCache *cache = new LatticeCache();
  const LatticeCache::Id id = LatticeCache::id_of(order, spec);
  std::shared_ptr<const Lattice> lattice = cache->find(id);
  if (lattice == nullptr) {
    lattice = build_lattice<2>(call, order, image, spec);
    cache->add(id, lattice);
  }
  return lattice;
}

}  // namespace wm
