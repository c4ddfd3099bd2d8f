// Pixel-adaptive mask refinement (Araslanov & Roth 2020; evaluation.md section 5, naclip.md section 8): every
// iteration replaces a mask by the affinity-weighted mean of its neighbours at the given dilations, replicate border.
//
// The affinity (8 weights a dilation and pixel) is computed once and serves all classes and iterations. To bound the
// memory, a large image is cut into tiles that carry a halo of `steps * largest dilation` pixels: a tile runs its steps
// on its own copy, edges replicated, and the wrong values that creep in from an inner edge never reach its core. Where
// the halo would outgrow the tile, the iterations are cut into rounds, with the whole masks kept in between. Every pixel
// sees the same operations in the same order whatever the tiling, so the result does not depend on it.
#include <algorithm>
#include <cstring>
#include <vector>

#include "native/core/op.h"
#include "native/cpu/crf/crf_buffer.h"
#include "native/cpu/crf/pamr_rows.h"

namespace wm {

namespace {

constexpr int64_t kRowGrain = 8;
// A task mixes a block of rows and columns, few planes at a time: their rows are streams that the hardware can still
// follow (four planes are already slower), while the block's weights stay in the second-level cache for all planes.
constexpr int64_t kBlockSegments = 32;
constexpr int64_t kBlockWeightBytes = 512 << 10;
constexpr int64_t kAffinityBytes = int64_t{144} << 20;    // of a tile
constexpr int64_t kPlaneBytes = int64_t{96} << 20;        // both copies of the planes worked on at a time

int64_t round_up(int64_t n, int64_t step) { return (n + step - 1) / step * step; }

struct Range {
  int64_t begin, end;
  int64_t size() const { return end - begin; }
};

// Part of the image a tile holds, the part it must get right, and its layout.
struct Tile {
  Range rows, columns;            // with halo, clipped to the image
  Range core_rows, core_columns;  // image coordinates
  int64_t pad, stride;            // of a padded row
  int64_t height() const { return rows.size(); }
  int64_t width() const { return columns.size(); }
  int64_t segments() const { return round_up(width(), kPamrSegment) / kPamrSegment; }
  // Not a multiple of 4 KiB: rows of many planes are read together and would fall on the same lines of the cache.
  int64_t plane_size() const { return round_up(stride * height(), 1024) + 208; }
};

struct Problem {
  const float *guide;
  int channels;
  int64_t classes, height, width;
  int64_t iterations;
  std::vector<int64_t> dilations;
  int64_t reach() const { return *std::max_element(dilations.begin(), dilations.end()); }
  int neighbours() const { return 8 * static_cast<int>(dilations.size()); }
};

class TileRun {
 public:
  TileRun(OpCall &call, const Problem &problem, const Tile &tile, int64_t steps)
      : call_(call), problem_(problem), kernels_(pamr_kernels()), tile_(tile), steps_(steps) {}

  void run(const float *from, float *to) {
    ArenaArray<float> guide(problem_.channels * tile_.plane_size());
    load_planes(problem_.guide, problem_.channels, guide.data());
    weights_ = ArenaArray<float>(tile_.height() * row_weights());
    const Range rows = step_rows(1), segments = step_segments(1);
    call_.parallel(rows.size(), kRowGrain, [&](int64_t begin, int64_t end) {
      for (int64_t y = rows.begin + begin; y < rows.begin + end; ++y) {
        kernels_.affinity(describe_row(y, segments), guide.data(), problem_.channels, weights_.data() + y * row_weights());
      }
    });
    guide.reset();
    const int64_t plane = tile_.plane_size();
    const int64_t chunk = std::max<int64_t>(1, std::min(problem_.classes, kPlaneBytes / (2 * plane * 4)));
    ArenaArray<float> a(chunk * plane), b(chunk * plane);
    for (int64_t first = 0; first < problem_.classes; first += chunk) {
      const int64_t classes = std::min(chunk, problem_.classes - first);
      const int64_t offset = first * problem_.height * problem_.width;
      load_planes(from + offset, classes, a.data());
      refine(a.data(), b.data(), classes, to + offset);
    }
  }

 private:
  int64_t row_weights() const { return tile_.segments() * problem_.neighbours() * kPamrSegment; }

  // Local rows (columns likewise) that step `step` of 1..steps_ must compute: the core, grown by what later steps reach.
  Range step_range(const Range &core, const Range &held, int64_t step) const {
    const int64_t grow = (steps_ - step) * problem_.reach();
    return {std::max(core.begin - grow, held.begin) - held.begin, std::min(core.end + grow, held.end) - held.begin};
  }
  Range step_rows(int64_t step) const { return step_range(tile_.core_rows, tile_.rows, step); }
  Range step_segments(int64_t step) const {
    const Range columns = step_range(tile_.core_columns, tile_.columns, step);
    return {columns.begin / kPamrSegment, round_up(columns.end, kPamrSegment) / kPamrSegment};
  }

  PamrRow describe_row(int64_t y, Range segments) const {
    PamrRow row;
    row.neighbours = problem_.neighbours();
    row.plane_stride = tile_.plane_size();
    row.centre = y * tile_.stride + tile_.pad;
    row.first_segment = segments.begin;
    row.last_segment = segments.end;
    int k = 0;
    for (const int64_t d : problem_.dilations) {
      for (int64_t dy = -d; dy <= d; dy += d) {
        const int64_t at = std::clamp<int64_t>(y + dy, 0, tile_.height() - 1) * tile_.stride + tile_.pad;
        for (int64_t dx = -d; dx <= d; dx += d) {
          if (dx != 0 || dy != 0) row.offset[k++] = at + dx;
        }
      }
    }
    return row;
  }

  // Copies the tile's part of [planes, H, W] into padded planes.
  void load_planes(const float *image, int64_t planes, float *padded) const {
    call_.parallel(planes * tile_.height(), 64, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t plane = i / tile_.height(), y = tile_.rows.begin + i % tile_.height();
        float *row = padded + plane * tile_.plane_size() + i % tile_.height() * tile_.stride + tile_.pad;
        std::memcpy(row, image + (plane * problem_.height + y) * problem_.width + tile_.columns.begin,
                    static_cast<size_t>(tile_.width()) * sizeof(float));
        replicate_ends(row, {0, tile_.segments()});
      }
    });
  }

  // Fills what lies beyond the ends of a row, if the segments reach them. The last column goes on to the end of the
  // last segment's reach, so that whole segments may be read.
  void replicate_ends(float *row, Range segments) const {
    if (segments.begin == 0) std::fill(row - tile_.pad, row, row[0]);
    if (segments.end == tile_.segments()) {
      std::fill(row + tile_.width(), row + tile_.stride - tile_.pad, row[tile_.width() - 1]);
    }
  }

  void refine(float *from, float *to, int64_t classes, float *out) const {
    const int64_t group = problem_.dilations.size() <= 2 ? 3 : 2;
    const int64_t row_bytes = kBlockSegments * kPamrSegment * 4 * problem_.neighbours();
    const int64_t block_rows = std::max<int64_t>(1, kBlockWeightBytes / row_bytes);
    for (int64_t step = 1; step <= steps_; ++step) {
      const Range rows = step_rows(step), segments = step_segments(step);
      const int64_t blocks_across = (segments.size() + kBlockSegments - 1) / kBlockSegments;
      const int64_t blocks_down = (rows.size() + block_rows - 1) / block_rows;
      call_.parallel(blocks_across * blocks_down, 1, [&](int64_t block, int64_t) {
        const int64_t top = rows.begin + block / blocks_across * block_rows;
        const int64_t left = segments.begin + block % blocks_across * kBlockSegments;
        const Range tall{top, std::min(rows.end, top + block_rows)};
        const Range wide{left, std::min(segments.end, left + kBlockSegments)};
        for (int64_t plane = 0; plane < classes; plane += group) {
          refine_block(tall, wide, {plane, std::min(classes, plane + group)}, from, to,
                       step == steps_ ? out : nullptr);
        }
      });
      std::swap(from, to);
    }
  }

  void refine_block(Range rows, Range segments, Range planes, const float *from, float *to, float *out) const {
    const int64_t offset = planes.begin * tile_.plane_size();
    for (int64_t y = rows.begin; y < rows.end; ++y) {
      const PamrRow row = describe_row(y, segments);
      kernels_.mix(row, weights_.data() + y * row_weights(), from + offset, to + offset, planes.size());
      for (int64_t plane = planes.begin; plane < planes.end; ++plane) {
        float *mixed = to + plane * tile_.plane_size() + row.centre;
        if (out == nullptr) replicate_ends(mixed, segments);
        else write_core(mixed, plane, y, segments, out);
      }
    }
  }

  void write_core(const float *row, int64_t plane, int64_t y, Range segments, float *out) const {
    const int64_t begin = std::max(segments.begin * kPamrSegment + tile_.columns.begin, tile_.core_columns.begin);
    const int64_t end = std::min(segments.end * kPamrSegment + tile_.columns.begin, tile_.core_columns.end);
    if (begin >= end) return;
    std::memcpy(out + (plane * problem_.height + tile_.rows.begin + y) * problem_.width + begin,
                row + begin - tile_.columns.begin, static_cast<size_t>(end - begin) * sizeof(float));
  }

  OpCall &call_;
  const Problem &problem_;
  const PamrKernels &kernels_;
  const Tile tile_;
  const int64_t steps_;
  ArenaArray<float> weights_;  // [rows, segments, neighbours, 16]
};

// Extents of a tile with halo, and the iterations of a round.
struct Plan {
  int64_t height, width, rounds, steps;
};

Plan make_plan(const Problem &problem) {
  const int64_t area = kAffinityBytes / (4 * problem.neighbours());
  Plan plan{problem.height, problem.width, 1, problem.iterations};
  if (round_up(problem.width, kPamrSegment) * problem.height <= area) return plan;
  int64_t side = 64;
  while ((side + 16) * (side + 16) <= area) side += 16;
  plan.width = std::min(problem.width, side);
  plan.height = std::min(problem.height, area / round_up(plan.width, kPamrSegment));
  // A halo of a quarter side leaves a core of at least half.
  const int64_t most = std::max<int64_t>(1, side / 4 / problem.reach());
  plan.rounds = (problem.iterations + most - 1) / most;
  plan.steps = (problem.iterations + plan.rounds - 1) / plan.rounds;
  return plan;
}

// Cuts [0, size) into cores so that a core with its halo is at most `extent`.
std::vector<Range> cut(int64_t size, int64_t extent, int64_t halo) {
  if (extent >= size) return {{0, size}};
  const int64_t core = std::max<int64_t>(kPamrSegment, extent - 2 * halo);
  std::vector<Range> cores;
  for (int64_t begin = 0; begin < size; begin += core) cores.push_back({begin, std::min(size, begin + core)});
  return cores;
}

void run_round(OpCall &call, const Problem &problem, const Plan &plan, int64_t steps, const float *from, float *to) {
  const int64_t halo = steps * problem.reach();
  for (const Range &rows : cut(problem.height, plan.height, halo)) {
    for (const Range &columns : cut(problem.width, plan.width, halo)) {
      Tile tile;
      tile.core_rows = rows;
      tile.core_columns = columns;
      tile.rows = {std::max<int64_t>(0, rows.begin - halo), std::min(problem.height, rows.end + halo)};
      tile.columns = {std::max<int64_t>(0, columns.begin - halo), std::min(problem.width, columns.end + halo)};
      tile.pad = round_up(problem.reach(), kPamrSegment);
      tile.stride = tile.segments() * kPamrSegment + 2 * tile.pad;
      TileRun(call, problem, tile, steps).run(from, to);
    }
  }
}

Problem read_problem(const OpCall &call) {
  const TensorView &guide = call.in(0), &masks = call.in(1);
  if (guide.dtype != DType::f32 || masks.dtype != DType::f32 || guide.ndim != 3 || masks.ndim != 3 ||
      guide.dim(0) != 3 || guide.dim(1) != masks.dim(1) || guide.dim(2) != masks.dim(2)) {
    call.reject("needs guide f32 [3, H, W] and masks f32 [C, H, W] of one size");
  }
  Problem problem{guide.as<float>(), static_cast<int>(guide.dim(0)), masks.dim(0), masks.dim(1), masks.dim(2),
                  call.attr_int(0), {}};
  const int64_t count = call.attr_int(1);
  if (problem.iterations < 0 || problem.iterations > 10000) call.reject("iterations must be 0..10000");
  if (count < 1 || count > kPamrMaxDilations) call.reject("needs 1..%d dilations", kPamrMaxDilations);
  for (int64_t i = 0; i < count; ++i) {
    problem.dilations.push_back(call.attr_int(2 + static_cast<int>(i)));
    if (problem.dilations.back() < 1 || problem.dilations.back() > kPamrMaxDilation) {
      call.reject("a dilation must be 1..%d, got %g", kPamrMaxDilation, call.attr(2 + static_cast<int>(i)));
    }
  }
  return problem;
}

void pamr(OpCall &call) {
  const Problem problem = read_problem(call);
  const TensorView &masks = call.in(1);
  float *out = call.out(0).as<float>();
  if (masks.numel() == 0) return;
  if (problem.iterations == 0) {
    std::memcpy(out, masks.data, masks.bytes());
    return;
  }
  const Plan plan = make_plan(problem);
  float *between = plan.rounds > 1 ? call.workspace<float>(masks.numel()) : nullptr;
  const float *from = masks.as<float>();
  for (int64_t round = 0; round < plan.rounds; ++round) {
    // Alternate so that the last round writes the output.
    float *to = (plan.rounds - 1 - round) % 2 == 0 ? out : between;
    run_round(call, problem, plan, std::min(plan.steps, problem.iterations - round * plan.steps), from, to);
    from = to;
  }
}

}  // namespace

WM_REGISTER_CPU_OP(pamr, pamr, kContiguous)

}  // namespace wm
