// Driver of the GEMM family: cuts the product into chunks of tiles, packs what is not packed, runs the
// micro-kernel. A chunk is a run of A panels times a run of B panels. Its A panels stay in the second cache
// level while B panels stream through; K blocks are the outer loop, their sums are carried in an f32 scratch.
#include "native/cpu/math/gemm.h"

#include <algorithm>

#include "native/core/arena.h"

namespace wm {

namespace {

// Rows of A a chunk keeps: 192 x 768 f32 is 576 KiB, beside one B panel of 144 KiB in a second level of 1
// MiB.
constexpr int64_t kChunkRows = 192;
// Columns a chunk covers where it must carry sums from one K block to the next.
constexpr int64_t kChunkColumnsCarried = 1536;
// Up to this size A is packed once for all chunks; above, each chunk of rows packs its own and covers all
// columns.
constexpr int64_t kSharedABytes = int64_t{8} << 20;
// Chunks wanted, enough to balance 16 threads, as long as each has this many tiles of 768 k.
constexpr int64_t kChunksWanted = 48;
constexpr int64_t kMinChunkTiles = 6;

// A panels packed by one thread at a time, and the run of k they are packed in where k is strided.
constexpr int64_t kPackTiles = 4;
constexpr int64_t kStridedRun = 48;

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Scratch of one chunk, from the arena because OpCall::workspace is not for use inside a parallel region.
class Scratch {
 public:
  explicit Scratch(int64_t elements) : bytes_(static_cast<size_t>(elements) * 4) {
    if (bytes_ != 0) data_ = Arena::instance().allocate(bytes_);
  }
  ~Scratch() {
    if (data_ != nullptr) Arena::instance().release(data_, bytes_);
  }
  Scratch(const Scratch &) = delete;
  Scratch &operator=(const Scratch &) = delete;
  uint32_t *data() const { return static_cast<uint32_t *>(data_); }

 private:
  size_t bytes_;
  void *data_ = nullptr;
};

class GemmRun {
 public:
  GemmRun(OpCall &call, const GemmArgs &args);
  void run();

 private:
  void choose_chunks();
  void pack_a_shared();
  void pack_b_shared();
  void pack_a_panels(int64_t batch, int64_t tile0, int64_t tile1, int64_t k0, int64_t kc,
                     uint32_t *panels) const;
  const uint32_t *b_panel(int64_t batch, int64_t panel, int64_t k0, int64_t kc, uint32_t *scratch) const;
  void run_chunk(int64_t chunk) const;
  void multiply(int rows, int cols, int64_t kc, const uint32_t *a, const uint32_t *b, float *sums,
                int64_t stride) const {
    if (dot_pairs_) return kernels_.tile_pairs(rows, cols, units(kc), a, b, sums, stride);
    kernels_.tile_f32(rows, cols, kc, reinterpret_cast<const float *>(a), reinterpret_cast<const float *>(b),
                      sums, stride);
  }
  struct TilePlace {
    int64_t batch, tile, panel, block, kc;
  };
  void run_tile(const TilePlace &at, const uint32_t *a, const uint32_t *b, float *partial,
                int64_t partial_stride) const;
  void finish_tile(const TilePlace &place, int rows, int cols, const float *sums, const float *partial,
                   int64_t partial_stride) const;

  int64_t units(int64_t k) const { return dot_pairs_ ? (k + 1) / 2 : k; }
  // One A panel of a K block; eight elements of room for the packing code.
  int64_t a_panel_elements(int64_t kc) const { return units(kc) * kernels_.tile_rows + 8; }
  int64_t offset(const int64_t *offsets, int64_t batch) const {
    return offsets == nullptr ? 0 : offsets[batch];
  }

  OpCall &call_;
  const GemmArgs &args_;
  const GemmKernels &kernels_;
  bool dot_pairs_;      // the tier multiplies pairs itself
  bool plain_ = false;  // one K block, f32 output, no epilogue
  int64_t tiles_, panels_, k_blocks_;
  int64_t chunk_tiles_ = 1, chunk_panels_ = 1;
  int64_t row_chunks_ = 1, column_chunks_ = 1;
  int64_t a_batches_;  // different A matrices
  uint32_t *a_shared_ = nullptr;
  const uint32_t *b_shared_ = nullptr;
  bool b_shared_pairs_ = false;
};

GemmRun::GemmRun(OpCall &call, const GemmArgs &args)
    : call_(call),
      args_(args),
      kernels_(gemm_kernels()),
      dot_pairs_(args.pairs && kernels_.tile_pairs != nullptr),
      tiles_(ceil_div(args.m, kernels_.tile_rows)),
      panels_(ceil_div(args.n, kernels_.tile_cols)),
      k_blocks_(std::max<int64_t>(1, ceil_div(args.k, kGemmBlockK))),
      a_batches_(args.a.offsets == nullptr ? 1 : args.batch) {
  plain_ = k_blocks_ == 1 && args.out_dtype == DType::f32 && args.activation == Activation::none &&
           args.scale == 1.0 && args.bias == nullptr && args.column_scale == nullptr &&
           args.residual == nullptr;
}

void GemmRun::choose_chunks() {
  const int64_t max_tiles = kChunkRows / kernels_.tile_rows;
  // With a weight to pack and few rows, a chunk takes all rows: each panel is then packed once, straight into
  // cache.
  const bool all_rows = !args_.b.packed && tiles_ <= 2 * max_tiles;
  row_chunks_ = all_rows ? 1 : ceil_div(tiles_, max_tiles);
  chunk_tiles_ = ceil_div(tiles_, row_chunks_);
  chunk_panels_ = panels_;
  if (k_blocks_ > 1) chunk_panels_ = std::min(panels_, ceil_div(kChunkColumnsCarried, kernels_.tile_cols));
  const int64_t a_bytes = a_batches_ * tiles_ * kernels_.tile_rows * units(args_.k) * 4;
  const bool shared = a_bytes <= kSharedABytes;
  // One row of tiles is bound by the reading of B, which costs about as much as a second row would.
  const int64_t tile_k = std::max<int64_t>(args_.k, 1);
  const auto chunks = [&] { return args_.batch * row_chunks_ * ceil_div(panels_, chunk_panels_); };
  const auto weight = [&](int64_t tiles, int64_t panels) {
    return std::max<int64_t>(tiles, 2) * panels * tile_k / 768;
  };
  while (shared && chunks() < kChunksWanted && chunk_panels_ > 1 &&
         weight(chunk_tiles_, chunk_panels_ / 2) >= kMinChunkTiles) {
    chunk_panels_ = ceil_div(chunk_panels_, 2);
  }
  while (!all_rows && chunks() < kChunksWanted && chunk_tiles_ > 8 &&
         weight(chunk_tiles_ / 2, chunk_panels_) >= kMinChunkTiles) {
    chunk_tiles_ = ceil_div(chunk_tiles_, 2);
    row_chunks_ = ceil_div(tiles_, chunk_tiles_);
  }
  column_chunks_ = ceil_div(panels_, chunk_panels_);
  if (shared && (column_chunks_ > 1 || (args_.batch > 1 && a_batches_ == 1))) pack_a_shared();
  if (args_.b.packed) {
    b_shared_ = static_cast<const uint32_t *>(args_.b.data);
    b_shared_pairs_ = args_.pairs;
  } else if (row_chunks_ > 1 && (args_.b.offsets == nullptr || args_.batch == 1)) {
    pack_b_shared();
  }
}

// Panels of tiles [tile0, tile1), a_panel_elements(kc) apart.
void GemmRun::pack_a_panels(int64_t batch, int64_t tile0, int64_t tile1, int64_t k0, int64_t kc,
                            uint32_t *panels) const {
  const int width = kernels_.tile_rows;
  const int64_t start = offset(args_.a.offsets, batch), stride = a_panel_elements(kc);
  const bool expand = args_.pairs && !dot_pairs_;
  const Scratch pairs(expand ? (kc + 1) / 2 * width + 8 : 0);
  // Where k is strided each k of a panel lies on another page: short runs of k, panel by panel, use a page
  // while it is in the translation cache.
  const int64_t run = args_.a.k_stride == 1 || expand ? kc : std::min(kc, kStridedRun);
  for (int64_t k = 0; k < kc; k += run) {
    for (int64_t t = tile0; t < tile1; ++t) {
      const int rows = static_cast<int>(std::min<int64_t>(width, args_.m - t * width));
      uint32_t *panel = panels + (t - tile0) * stride + units(k) * width;
      gemm_pack_panel(kernels_, args_.a, start, t * width, rows, width, k0 + k, std::min(run, kc - k),
                      args_.pairs, expand ? pairs.data() : panel);
      if (expand) gemm_expand_panel(pairs.data(), width, kc, reinterpret_cast<float *>(panel));
    }
  }
}

// Layout: [a_batches][K block][tile][units][tile_rows] with eight elements of room after each panel.
void GemmRun::pack_a_shared() {
  const int64_t per_batch = tiles_ * (units(args_.k) * kernels_.tile_rows + 8 * k_blocks_);
  a_shared_ = call_.workspace<uint32_t>(a_batches_ * per_batch);
  const int64_t groups = ceil_div(tiles_, kPackTiles);
  call_.parallel(a_batches_ * groups, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t batch = i / groups, tile0 = i % groups * kPackTiles;
      const int64_t tile1 = std::min(tiles_, tile0 + kPackTiles);
      uint32_t *block = a_shared_ + batch * per_batch;
      for (int64_t k0 = 0; k0 < args_.k; k0 += kGemmBlockK) {
        const int64_t kc = std::min(kGemmBlockK, args_.k - k0);
        pack_a_panels(batch, tile0, tile1, k0, kc, block + tile0 * a_panel_elements(kc));
        block += tiles_ * a_panel_elements(kc);
      }
    }
  });
}

void GemmRun::pack_b_shared() {
  const int64_t per_panel = (dot_pairs_ || args_.pairs ? (args_.k + 1) / 2 : args_.k) * kernels_.tile_cols;
  uint32_t *panels = call_.workspace<uint32_t>(panels_ * per_panel + 8);
  gemm_pack_all(call_, args_.b, args_.n, args_.k, args_.pairs, panels);
  b_shared_ = panels;
  b_shared_pairs_ = args_.pairs;
}

const uint32_t *GemmRun::b_panel(int64_t batch, int64_t panel, int64_t k0, int64_t kc,
                                 uint32_t *scratch) const {
  const int width = kernels_.tile_cols;
  const bool expand = args_.pairs && !dot_pairs_;
  const uint32_t *source = nullptr;
  uint32_t *packed = expand ? scratch + units(kGemmBlockK) * width : scratch;
  if (b_shared_ != nullptr) {
    const int64_t per_panel = (b_shared_pairs_ ? (args_.k + 1) / 2 : args_.k) * width;
    source = b_shared_ + panel * per_panel + (b_shared_pairs_ ? k0 / 2 : k0) * width;
  } else {
    const int rows = static_cast<int>(std::min<int64_t>(width, args_.n - panel * width));
    gemm_pack_panel(kernels_, args_.b, offset(args_.b.offsets, batch), panel * width, rows, width, k0, kc,
                    args_.pairs, packed);
    source = packed;
  }
  if (!expand) return source;
  gemm_expand_panel(source, width, kc, reinterpret_cast<float *>(scratch));
  return scratch;
}

void GemmRun::finish_tile(const TilePlace &place, int rows, int cols, const float *sums, const float *partial,
                          int64_t partial_stride) const {
  const int64_t row = place.tile * kernels_.tile_rows, col = place.panel * kernels_.tile_cols;
  const int64_t at = (place.batch * args_.m + row) * args_.n + col;
  TileOutput o;
  o.rows = rows;
  o.cols = cols;
  o.scale = static_cast<float>(args_.scale);
  o.activation = args_.activation;
  o.partial = partial;
  o.partial_stride = partial_stride;
  o.column_scale = args_.column_scale ? args_.column_scale + place.batch * args_.n + col : nullptr;
  o.bias = args_.bias ? args_.bias + col : nullptr;
  o.residual_bf16 = args_.residual_dtype == DType::bf16;
  o.residual =
      args_.residual ? static_cast<const char *>(args_.residual) + at * (o.residual_bf16 ? 2 : 4) : nullptr;
  o.residual_stride = o.out_stride = args_.n;
  o.out_bf16 = args_.out_dtype == DType::bf16;
  o.out = static_cast<char *>(args_.out) + at * (o.out_bf16 ? 2 : 4);
  kernels_.finish(sums, o);
}

void GemmRun::run_chunk(int64_t chunk) const {
  const int64_t batch = chunk / (row_chunks_ * column_chunks_);
  const int64_t tile0 = chunk / column_chunks_ % row_chunks_ * chunk_tiles_;
  const int64_t panel0 = chunk % column_chunks_ * chunk_panels_;
  const int64_t tile1 = std::min(tiles_, tile0 + chunk_tiles_),
                panel1 = std::min(panels_, panel0 + chunk_panels_);
  const int mr = kernels_.tile_rows, nr = kernels_.tile_cols;
  const bool expand = args_.pairs && !dot_pairs_;
  const int64_t kc_max = std::min(kGemmBlockK, args_.k);
  const Scratch a_own(a_shared_ ? 0 : (tile1 - tile0) * a_panel_elements(kc_max));
  const Scratch b_own(b_shared_ && !expand ? 0 : (expand ? 2 : 1) * units(kGemmBlockK) * nr + 8);
  const int64_t partial_stride = (panel1 - panel0) * nr;
  const Scratch carried(k_blocks_ > 1 ? (tile1 - tile0) * mr * partial_stride : 0);
  float *partial = reinterpret_cast<float *>(carried.data());
  const int64_t a_batch = a_batches_ == 1 ? 0 : batch;
  const uint32_t *a_shared =
      a_shared_ ? a_shared_ + a_batch * tiles_ * (units(args_.k) * mr + 8 * k_blocks_) : nullptr;

  for (int64_t block = 0; block < k_blocks_; ++block) {
    const int64_t k0 = block * kGemmBlockK, kc = std::min(kGemmBlockK, args_.k - k0);
    const int64_t a_stride = a_panel_elements(kc);
    const uint32_t *a = a_own.data();
    if (a_shared != nullptr) {
      a = a_shared + tile0 * a_stride;
      a_shared += tiles_ * a_stride;
    } else {
      pack_a_panels(batch, tile0, tile1, k0, kc, a_own.data());
    }
    for (int64_t p = panel0; p < panel1; ++p) {
      const uint32_t *b = b_panel(batch, p, k0, kc, b_own.data());
      for (int64_t t = tile0; t < tile1; ++t) {
        float *at = partial ? partial + (t - tile0) * mr * partial_stride + (p - panel0) * nr : nullptr;
        run_tile({batch, t, p, block, kc}, a + (t - tile0) * a_stride, b, at, partial_stride);
      }
    }
  }
}

// One tile of one K block; `partial` holds its sums of the earlier blocks.
void GemmRun::run_tile(const TilePlace &at, const uint32_t *a, const uint32_t *b, float *partial,
                       int64_t partial_stride) const {
  const int mr = kernels_.tile_rows, nr = kernels_.tile_cols;
  const int rows = static_cast<int>(std::min<int64_t>(mr, args_.m - at.tile * mr));
  const int cols = static_cast<int>(std::min<int64_t>(nr, args_.n - at.panel * nr));
  const bool last = at.block + 1 == k_blocks_;
  // Sums that need no more work go straight to their place.
  if (!last && at.block == 0) return multiply(rows, cols, at.kc, a, b, partial, partial_stride);
  if (plain_ && cols % 16 == 0) {
    float *out =
        static_cast<float *>(args_.out) + (at.batch * args_.m + at.tile * mr) * args_.n + at.panel * nr;
    return multiply(rows, cols, at.kc, a, b, out, args_.n);
  }
  alignas(64) float tile[kMaxTileRows * kMaxTileCols];
  multiply(rows, cols, at.kc, a, b, tile, nr);
  if (last) {
    finish_tile(at, rows, cols, tile, partial, partial_stride);
  } else {
    kernels_.accumulate(tile, rows, cols, partial, partial_stride);
  }
}

void GemmRun::run() {
  choose_chunks();
  call_.parallel(args_.batch * row_chunks_ * column_chunks_, 1, [&](int64_t begin, int64_t end) {
    for (int64_t chunk = begin; chunk < end; ++chunk) run_chunk(chunk);
  });
}

}  // namespace

void gemm(OpCall &call, const GemmArgs &args) {
  if (args.m == 0 || args.n == 0 || args.batch == 0) return;
  GemmRun(call, args).run();
}

}  // namespace wm
