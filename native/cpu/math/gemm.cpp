// Driver of the GEMM family: cuts the product into chunks of tiles, packs what is not packed, runs the
// micro-kernel. A chunk is a run of A panels times a run of B panels. Its A panels stay in the second cache
// level while B panels stream through; K blocks are the outer loop, their sums are carried in an f32 scratch.
// Each thread packs the A panels it needs itself and keeps them for its next chunk: panels packed by another
// core would have to be fetched from that core's cache, which costs more than packing them twice.
#include "native/cpu/math/gemm.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include "native/core/arena.h"
#include "native/core/thread_pool.h"

namespace wm {

namespace {

// Rows of A a chunk keeps: 200 x 768 f32 is 600 KiB, beside two B panels of 144 KiB in a second level of 1 MiB. One
// window of a ViT at patch 16 (197 tokens) is then one chunk of rows, and its weights are read once.
constexpr int64_t kChunkRows = 200;
// Columns a chunk covers where it must carry sums from one K block to the next.
constexpr int64_t kChunkColumnsCarried = 1536;
// A panels over all of k that a thread keeps from one chunk to the next: the second cache level again. With a
// weight to pack they may spill into the third, because the weight would otherwise be packed more than once.
constexpr int64_t kKeptBytes = int64_t{1} << 20;
constexpr int64_t kKeptBytesUnpacked = int64_t{3} << 20;
// Chunks wanted for each thread beyond the first, as long as each chunk has this many tiles of 768 k. No sum depends
// on where chunks end, so that they may follow the number of threads.
constexpr int64_t kChunksPerThread = 8;
constexpr int64_t kMostChunks = 48;
constexpr int64_t kMinChunkTiles = 6;

// The run of k in which panels are packed where k is strided.
constexpr int64_t kStridedRun = 48;

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Memory from the arena, because OpCall::workspace is not for use inside a parallel region.
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

// What one thread works with during one product.
struct Workbench {
  Scratch a, b, carried;
  int64_t kept_rows = -1;  // the row chunk whose panels `a` holds over all of k, or -1
};

std::atomic<uint64_t> next_run{1};

class GemmRun {
 public:
  GemmRun(OpCall &call, const GemmArgs &args);
  void run();

 private:
  void choose_chunks();
  void pack_b_shared();
  void pack_a_panels(int64_t batch, int64_t tile0, int64_t tile1, int64_t k0, int64_t kc,
                     uint32_t *panels) const;
  const uint32_t *a_panels(Workbench &bench, int64_t row_chunk, int64_t batch, int64_t block) const;
  Workbench &workbench();
  const uint32_t *b_panel(int64_t batch, int64_t panel, int64_t k0, int64_t kc, uint32_t *scratch) const;
  void run_chunk(int64_t chunk);
  struct TilePlace {
    int64_t batch, tile, panel, block, kc;
    Ahead ahead;
  };
  void multiply(const TilePlace &at, int rows, int cols, const uint32_t *a, const uint32_t *b, float *sums,
                int64_t stride) const {
    if (in_place_) {
      const int64_t row_stride = args_.a.row_stride, start = offset(args_.a.offsets, at.batch);
      const int64_t first = start + at.tile * kernels_.tile_rows * row_stride + at.block * kGemmBlockK;
      if (dot_pairs_) {
        return kernels_.tile_pairs_in_place(rows, cols, at.kc / 2, static_cast<const bf16 *>(args_.a.data) + first,
                                            row_stride, b, sums, stride, at.ahead);
      }
      return kernels_.tile_f32_in_place(rows, cols, at.kc, static_cast<const float *>(args_.a.data) + first, row_stride,
                                        reinterpret_cast<const float *>(b), sums, stride, at.ahead);
    }
    if (dot_pairs_) return kernels_.tile_pairs(rows, cols, units(at.kc), a, b, sums, stride, at.ahead);
    kernels_.tile_f32(rows, cols, at.kc, reinterpret_cast<const float *>(a),
                      reinterpret_cast<const float *>(b), sums, stride, at.ahead);
  }
  const uint32_t *upcoming_panel(int64_t chunk, int64_t panel, int64_t block) const;
  void run_tile(const TilePlace &at, const uint32_t *a, const uint32_t *b, float *partial,
                int64_t partial_stride) const;
  void fetch(const void *data, DType type, const TilePlace &place, int rows, int cols) const;
  void finish_tile(const TilePlace &place, int rows, int cols, const float *sums, const float *partial,
                   int64_t partial_stride) const;

  int64_t units(int64_t k) const { return dot_pairs_ ? (k + 1) / 2 : k; }
  int64_t block_k(int64_t block) const { return std::min(kGemmBlockK, args_.k - block * kGemmBlockK); }
  // One A panel of a K block; eight elements of room for the packing code.
  int64_t a_panel_elements(int64_t kc) const { return units(kc) * kernels_.tile_rows + 8; }
  int64_t offset(const int64_t *offsets, int64_t batch) const {
    return offsets == nullptr ? 0 : offsets[batch];
  }

  OpCall &call_;
  const GemmArgs &args_;
  const GemmKernels &kernels_;
  bool dot_pairs_;      // the tier multiplies pairs itself
  bool in_place_;       // and reads A where it lies
  bool plain_ = false;  // one K block, f32 output, no epilogue
  const int64_t threads_ = ThreadPool::instance().size();
  int64_t tiles_, panels_, k_blocks_;
  int64_t chunk_tiles_ = 1, chunk_panels_ = 1;
  int64_t row_chunks_ = 1, column_chunks_ = 1;
  int64_t a_batches_;    // different A matrices
  bool keep_a_ = false;  // several chunks in turn want the same rows
  const uint32_t *b_shared_ = nullptr;
  const uint64_t id_ = next_run.fetch_add(1, std::memory_order_relaxed);
  std::mutex benches_mutex_;
  std::vector<std::unique_ptr<Workbench>> benches_;
};

GemmRun::GemmRun(OpCall &call, const GemmArgs &args)
    : call_(call),
      args_(args),
      kernels_(gemm_kernels()),
      dot_pairs_(args.pairs && kernels_.tile_pairs != nullptr),
      in_place_(gemm_reads_in_place(args, kernels_, dot_pairs_)),
      tiles_(ceil_div(args.m, kernels_.tile_rows)),
      panels_(ceil_div(args.n, kernels_.tile_cols)),
      k_blocks_(std::max<int64_t>(1, ceil_div(args.k, kGemmBlockK))),
      a_batches_(args.a.offsets == nullptr ? 1 : args.batch) {
  plain_ = k_blocks_ == 1 && args.out_dtype == DType::f32 && args.activation == Activation::none &&
           args.scale == 1.0 && args.bias == nullptr && args.column_scale == nullptr &&
           args.residual == nullptr && args.slope == nullptr && args.gate == nullptr;
}

void GemmRun::choose_chunks() {
  const int64_t max_tiles = kChunkRows / kernels_.tile_rows;
  const int64_t tile_bytes = kernels_.tile_rows * units(args_.k) * 4;
  // Rows that lie across memory (a gradient of weights) cost about as much to pack as to multiply by a narrow B. Threads then
  // share them out: with chunks of columns, each thread would pack all rows itself.
  const bool rows_alone = threads_ > 1 && !in_place_ && args_.a.k_stride != 1 && args_.m >= args_.n &&
                          args_.batch == 1 && tiles_ >= 2 * threads_;
  // With a weight to pack and few rows, a chunk takes all rows: each panel is then packed once, into cache.
  const bool all_rows = !rows_alone && !args_.b.packed && tiles_ <= 2 * max_tiles &&
                        tiles_ * tile_bytes <= kKeptBytesUnpacked;
  const auto set_tiles = [&](int64_t tiles) {
    row_chunks_ = ceil_div(tiles_, tiles);
    chunk_tiles_ = ceil_div(tiles_, row_chunks_);
  };
  set_tiles(all_rows ? tiles_ : std::min(tiles_, max_tiles));
  chunk_panels_ = panels_;
  if (k_blocks_ > 1) chunk_panels_ = std::min(panels_, ceil_div(kChunkColumnsCarried, kernels_.tile_cols));
  const int64_t wanted = threads_ == 1 ? 1 : std::min<int64_t>(threads_ * kChunksPerThread, kMostChunks);
  const auto chunks = [&] { return args_.batch * row_chunks_ * ceil_div(panels_, chunk_panels_); };
  // One row of tiles is bound by the reading of B, which costs about as much as a second row would.
  const auto heavy = [&](int64_t tiles, int64_t panels) {
    return std::max<int64_t>(tiles, 2) * panels * std::max<int64_t>(args_.k, 1) >= kMinChunkTiles * kGemmBlockK;
  };
  while (!all_rows && chunks() < wanted && chunk_tiles_ > 8 && heavy(chunk_tiles_ / 2, chunk_panels_)) {
    set_tiles(ceil_div(chunk_tiles_, 2));
  }
  if (rows_alone) set_tiles(std::min(chunk_tiles_, ceil_div(tiles_, 2 * threads_)));
  while (!rows_alone && chunks() < wanted && chunk_panels_ > 1 && heavy(chunk_tiles_, chunk_panels_ / 2)) {
    chunk_panels_ = ceil_div(chunk_panels_, 2);
  }
  column_chunks_ = ceil_div(panels_, chunk_panels_);
  keep_a_ = column_chunks_ > 1 || (args_.batch > 1 && a_batches_ == 1);
  while (keep_a_ && !all_rows && chunk_tiles_ > 1 && chunk_tiles_ * tile_bytes > kKeptBytes) {
    set_tiles(ceil_div(chunk_tiles_, 2));
  }
  if (args_.b.packed) {
    b_shared_ = static_cast<const uint32_t *>(args_.b.data);
  } else if (row_chunks_ > 1 && (args_.b.offsets == nullptr || args_.batch == 1)) {
    pack_b_shared();
  }
}

// This thread's bench in this run. The pool has no thread numbers, so a thread remembers its last bench by
// run.
Workbench &GemmRun::workbench() {
  struct Held {
    uint64_t run = 0;
    Workbench *bench = nullptr;
  };
  static thread_local Held held;
  if (held.run == id_) return *held.bench;
  const bool expand = args_.pairs && !dot_pairs_;
  const int64_t kc = std::min(kGemmBlockK, args_.k), nr = kernels_.tile_cols;
  const int64_t a = in_place_ ? 0 : keep_a_ ? units(args_.k) * kernels_.tile_rows + 8 * k_blocks_ : a_panel_elements(kc);
  const int64_t b = b_shared_ && !expand ? 0 : (expand ? 2 : 1) * units(kGemmBlockK) * nr + 8;
  const int64_t carried = k_blocks_ > 1 ? kernels_.tile_rows * chunk_panels_ * nr : 0;
  std::unique_ptr<Workbench> bench(
      new Workbench{Scratch(chunk_tiles_ * a), Scratch(b), Scratch(chunk_tiles_ * carried)});
  held = {id_, bench.get()};
  std::lock_guard<std::mutex> lock(benches_mutex_);
  benches_.push_back(std::move(bench));
  return *held.bench;
}

// Panels of tiles [tile0, tile1), a_panel_elements(kc) apart.
void GemmRun::pack_a_panels(int64_t batch, int64_t tile0, int64_t tile1, int64_t k0, int64_t kc, uint32_t *panels) const {
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

// The A panels of a row chunk over one K block: [tile][units][tile_rows], a_panel_elements apart.
const uint32_t *GemmRun::a_panels(Workbench &bench, int64_t row_chunk, int64_t batch, int64_t block) const {
  const int64_t tile0 = row_chunk * chunk_tiles_, tile1 = std::min(tiles_, tile0 + chunk_tiles_);
  if (in_place_) return bench.a.data();
  if (!keep_a_) {
    pack_a_panels(batch, tile0, tile1, block * kGemmBlockK, block_k(block), bench.a.data());
    return bench.a.data();
  }
  const int64_t full_block = (tile1 - tile0) * a_panel_elements(kGemmBlockK);
  const int64_t rows = (a_batches_ == 1 ? 0 : batch) * row_chunks_ + row_chunk;
  if (bench.kept_rows != rows) {
    bench.kept_rows = -1;
    for (int64_t i = 0; i < k_blocks_; ++i) {
      pack_a_panels(batch, tile0, tile1, i * kGemmBlockK, block_k(i), bench.a.data() + i * full_block);
    }
    bench.kept_rows = rows;
  }
  return bench.a.data() + block * full_block;
}

void GemmRun::pack_b_shared() {
  const int64_t per_panel = (dot_pairs_ || args_.pairs ? (args_.k + 1) / 2 : args_.k) * kernels_.tile_cols;
  uint32_t *panels = call_.workspace<uint32_t>(panels_ * per_panel + 8);
  gemm_pack_all(call_, args_.b, args_.n, args_.k, args_.pairs, panels);
  b_shared_ = panels;
}

const uint32_t *GemmRun::b_panel(int64_t batch, int64_t panel, int64_t k0, int64_t kc, uint32_t *scratch) const {
  const int width = kernels_.tile_cols;
  const bool expand = args_.pairs && !dot_pairs_;
  const uint32_t *source = nullptr;
  uint32_t *packed = expand ? scratch + units(kGemmBlockK) * width : scratch;
  if (b_shared_ != nullptr) {
    const int64_t per_panel = (args_.pairs ? (args_.k + 1) / 2 : args_.k) * width;
    source = b_shared_ + panel * per_panel + (args_.pairs ? k0 / 2 : k0) * width;
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

// Residual and gate come from memory while the tile is multiplied: read only then, they would hold up the epilogue.
void GemmRun::fetch(const void *data, DType type, const TilePlace &place, int rows, int cols) const {
  if (data == nullptr) return;
  const int64_t row = place.batch * args_.m + place.tile * kernels_.tile_rows, col = place.panel * kernels_.tile_cols;
  const int64_t size = type == DType::bf16 ? 2 : 4;
  for (int r = 0; r < rows; ++r) {
    const char *from = static_cast<const char *>(data) + ((row + r) * args_.n + col) * size;
    for (int64_t i = 0; i < cols * size; i += 64) __builtin_prefetch(from + i);
  }
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
  o.slope = args_.slope ? static_cast<char *>(args_.slope) + at * (o.out_bf16 ? 2 : 4) : nullptr;
  o.gate_bf16 = args_.gate_dtype == DType::bf16;
  o.gate = args_.gate ? static_cast<const char *>(args_.gate) + at * (o.gate_bf16 ? 2 : 4) : nullptr;
  kernels_.finish(sums, o);
}

void GemmRun::run_chunk(int64_t chunk) {
  const int64_t batch = chunk / (row_chunks_ * column_chunks_),
                row_chunk = chunk / column_chunks_ % row_chunks_;
  const int64_t tile0 = row_chunk * chunk_tiles_, panel0 = chunk % column_chunks_ * chunk_panels_;
  const int64_t tile1 = std::min(tiles_, tile0 + chunk_tiles_);
  const int64_t panel1 = std::min(panels_, panel0 + chunk_panels_);
  const int mr = kernels_.tile_rows, nr = kernels_.tile_cols;
  const int64_t partial_stride = (panel1 - panel0) * nr;
  Workbench &bench = workbench();
  float *partial = reinterpret_cast<float *>(bench.carried.data());
  for (int64_t block = 0; block < k_blocks_; ++block) {
    const int64_t kc = block_k(block);
    const uint32_t *a = a_panels(bench, row_chunk, batch, block);
    for (int64_t p = panel0; p < panel1; ++p) {
      const uint32_t *b = b_panel(batch, p, block * kGemmBlockK, kc, bench.b.data());
      // The tiles of a panel fetch the panel after it, each its share.
      const uint32_t *upcoming = upcoming_panel(chunk, p, block);
      const int64_t step = upcoming ? ceil_div(nr * 4, tile1 - tile0) : 0;
      const char *from = reinterpret_cast<const char *>(upcoming ? upcoming : b);
      for (int64_t t = tile0; t < tile1; ++t) {
        float *at = partial ? partial + (t - tile0) * mr * partial_stride + (p - panel0) * nr : nullptr;
        const Ahead ahead{from + (t - tile0) * step * units(kc), step};
        run_tile({batch, t, p, block, kc, ahead}, a ? a + (t - tile0) * a_panel_elements(kc) : nullptr, b, at,
                 partial_stride);
      }
    }
  }
}

// The panel this thread will most likely read after this one: in its chunk, or at the start of the chunk that will be
// next in line when it is done. Null where panels are made on the fly, and at the end.
const uint32_t *GemmRun::upcoming_panel(int64_t chunk, int64_t panel, int64_t block) const {
  if (b_shared_ == nullptr || (args_.pairs && !dot_pairs_)) return nullptr;
  const int64_t panel0 = chunk % column_chunks_ * chunk_panels_;
  if (++panel == std::min(panels_, panel0 + chunk_panels_)) {
    panel = panel0;
    if (++block == k_blocks_) {
      block = 0;
      panel = (chunk + threads_) % column_chunks_ * chunk_panels_;
    }
  }
  const int64_t width = kernels_.tile_cols;
  return b_shared_ + (panel * units(args_.k) + units(block * kGemmBlockK)) * width;
}

// One tile of one K block; `partial` holds its sums of the earlier blocks.
void GemmRun::run_tile(const TilePlace &at, const uint32_t *a, const uint32_t *b, float *partial,
                       int64_t partial_stride) const {
  const int mr = kernels_.tile_rows, nr = kernels_.tile_cols;
  const int rows = static_cast<int>(std::min<int64_t>(mr, args_.m - at.tile * mr));
  const int cols = static_cast<int>(std::min<int64_t>(nr, args_.n - at.panel * nr));
  const bool last = at.block + 1 == k_blocks_;
  // Sums that need no more work go straight to their place.
  if (!last && at.block == 0) return multiply(at, rows, cols, a, b, partial, partial_stride);
  if (plain_ && cols % 16 == 0) {
    float *out =
        static_cast<float *>(args_.out) + (at.batch * args_.m + at.tile * mr) * args_.n + at.panel * nr;
    return multiply(at, rows, cols, a, b, out, args_.n);
  }
  alignas(64) float tile[kMaxTileRows * kMaxTileCols];
  if (last) fetch(args_.residual, args_.residual_dtype, at, rows, cols);
  if (last) fetch(args_.gate, args_.gate_dtype, at, rows, cols);
  multiply(at, rows, cols, a, b, tile, nr);
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
