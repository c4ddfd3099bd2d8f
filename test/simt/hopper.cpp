// Hopper's instructions on fibers (cuda/core/sm90_simt.cuh): barriers of shared memory, tensor maps, copies of boxes, products
// of warpgroups from shared-memory descriptors. Written from the PTX ISA's tables, not from the kernels.
#include "cuda/core/sm90_simt.cuh"

#include <cuda.h>

#include <array>
#include <deque>
#include <string>
#include <vector>

#include "cuda/core/mma.cuh"
#include "cuda/core/tensor_map.h"
#include "test/simt/hopper.h"

#if defined(WM_FIBER_TSAN)
#include <sanitizer/tsan_interface.h>
#define WM_RELEASE(x) __tsan_release(x)
#define WM_ACQUIRE(x) __tsan_acquire(x)
#else
#define WM_RELEASE(x) static_cast<void>(x)
#define WM_ACQUIRE(x) static_cast<void>(x)
#endif

namespace wm {

namespace simt {

namespace {

constexpr int kNamedBarriers = 16, kMaxThreads = 1024;
constexpr uint32_t kUnit = 1024;

// What a tensor map holds here.
struct Map {
  unsigned char *data;
  int64_t size[4], stride[4];  // stride in bytes
  int box[4];
  int dims, element;
  bool swizzle;
};
static_assert(sizeof(Map) <= sizeof(CUtensorMap), "a map of 128 bytes");

Map map_of(const CUtensorMap &opaque) {
  Map map;
  std::memcpy(&map, &opaque, sizeof map);
  return map;
}

struct Store {
  Map map;
  const unsigned char *tile;
  int at[4];
};

struct NamedBarrier {
  int arrived = 0, generation = 0;
};

// Of one thread: groups of what was asked for; the last group is open.
struct Pending {
  std::deque<std::vector<WarpgroupProduct>> products;
  std::deque<std::vector<Store>> stores;
};

struct Block {
  NamedBarrier named[kNamedBarriers];
  std::vector<Pending> threads;
};

Block &block() {
  static Block instance;
  return instance;
}

Pending &pending() { return block().threads[static_cast<size_t>(current_thread())]; }

// A barrier in its eight bytes: arrivals a phase and still missing, bytes still missing, parity of the running phase.
struct Phase {
  uint16_t count, missing;
  int32_t bytes_and_parity;

  int32_t bytes() const { return bytes_and_parity >> 1; }
  uint32_t parity() const { return static_cast<uint32_t>(bytes_and_parity) & 1u; }
  void set(int32_t bytes_left, uint32_t phase_parity) {
    bytes_and_parity = bytes_left * 2 + static_cast<int32_t>(phase_parity);
  }
};
static_assert(sizeof(Phase) == sizeof(uint64_t), "an mbarrier has eight bytes");

Phase read(const uint64_t *barrier) {
  Phase phase;
  std::memcpy(&phase, barrier, sizeof phase);
  return phase;
}

void write(uint64_t *barrier, Phase phase) {
  if (phase.missing == 0 && phase.bytes() == 0) {
    phase.missing = phase.count;
    phase.set(0, phase.parity() ^ 1u);
  }
  std::memcpy(barrier, &phase, sizeof phase);
}

unsigned char *shared_at(uint32_t offset) { return static_cast<unsigned char *>(dynamic_shared()) + offset; }

// The 128-byte swizzle works on addresses: bits 4 to 6 change by bits 7 to 9.
uint32_t swizzled(uint32_t address) { return address ^ (address >> 7 & 7u) << 4; }

// Calls body(address in shared memory, element of the tensor or null) for each element of the box.
template <class F>
void for_box(const Map &map, const void *tile, const int (&at)[4], F &&body) {
  const uint32_t start = shared_offset(tile);
  if (start % (map.swizzle ? kUnit : 128) != 0) fail(Status::internal, "a tile of TMA at byte %u of shared memory", start);
  uint32_t address = start;
  for (int d = 0; d < map.box[3]; ++d) {
    for (int c = 0; c < map.box[2]; ++c) {
      for (int b = 0; b < map.box[1]; ++b) {
        for (int a = 0; a < map.box[0]; ++a, address += static_cast<uint32_t>(map.element)) {
          const int64_t index[4] = {int64_t{at[0]} + a, int64_t{at[1]} + b, int64_t{at[2]} + c, int64_t{at[3]} + d};
          unsigned char *element = map.data;
          for (int i = 0; i < 4 && element != nullptr; ++i) {
            if (index[i] < 0 || index[i] >= map.size[i]) element = nullptr;
            else element += index[i] * map.stride[i];
          }
          body(shared_at(map.swizzle ? swizzled(address) : address), element);
        }
      }
    }
  }
}

void execute(const Store &store) {
  for_box(store.map, store.tile, store.at, [&](const unsigned char *from, unsigned char *to) {
    if (to != nullptr) std::memcpy(to, from, static_cast<size_t>(store.map.element));
  });
}

// An operand in shared memory by its descriptor: start, leading and stride offset in 16 bytes; 128-byte swizzle alone.
struct Operand {
  uint32_t start, leading, stride;
  bool mn;

  Operand(uint64_t descriptor, bool along_mn)
      : start(static_cast<uint32_t>(descriptor & 0x3fff) * 16), leading(static_cast<uint32_t>(descriptor >> 16 & 0x3fff) * 16),
        stride(static_cast<uint32_t>(descriptor >> 32 & 0x3fff) * 16), mn(along_mn) {
    if (descriptor >> 62 != 1 || (descriptor >> 49 & 7) != 0) fail(Status::internal, "a descriptor without 128-byte swizzle");
  }
  // Element (row of M or column of N, k).
  float at(int row, int k) const {
    const int outer = mn ? row / 64 : row / 8, along = mn ? row % 64 : k, line = mn ? k % 8 : row % 8;
    const uint32_t offset = static_cast<uint32_t>(mn ? outer * static_cast<int>(leading) + k / 8 * static_cast<int>(stride)
                                                     : outer * static_cast<int>(stride)) +
                            static_cast<uint32_t>(line * 128 + along * 2);
    bf16 value;
    std::memcpy(&value, shared_at(swizzled(start + offset)), sizeof value);
    return to_float(value);
  }
};

// The thread's sums: rows 16 w + g and 8 further, columns 8 j + 2 t and the next.
void execute(const WarpgroupProduct &p, const std::array<std::array<uint32_t, 4>, 32> *fragments) {
  const int thread = current_thread() % 128, lane = thread % 32, g = lane / 4, t = lane % 4;
  const Operand b(p.b, p.b_mn);
  float left[2][16];
  for (int h = 0; h < 2; ++h) {
    for (int k = 0; k < 16; ++k) {
      if (p.a_in_registers) {
        const uint32_t pair = (*fragments)[static_cast<size_t>(g * 4 + k % 8 / 2)][static_cast<size_t>(k / 8 * 2 + h)];
        left[h][k] = k % 2 == 0 ? wm::cuda::unpack_low(pair) : wm::cuda::unpack_high(pair);
      } else {
        left[h][k] = Operand(p.a, p.a_mn).at(thread / 32 * 16 + g + 8 * h, k);
      }
    }
  }
  for (int j = 0; j < p.columns / 8; ++j) {
    for (int e = 0; e < 2; ++e) {
      float right[16];
      for (int k = 0; k < 16; ++k) right[k] = b.at(8 * j + 2 * t + e, k);
      for (int h = 0; h < 2; ++h) {
        float &sum = p.d[4 * j + 2 * h + e];
        if (!p.accumulate) sum = 0.0f;
        for (int k = 0; k < 16; ++k) sum += left[h][k] * right[k];
      }
    }
  }
}

}  // namespace

uint32_t shared_offset(const void *shared) {
  return static_cast<uint32_t>(static_cast<const unsigned char *>(shared) - static_cast<unsigned char *>(dynamic_shared()));
}

void begin_hopper_block() {
  block() = Block();
  block().threads.resize(kMaxThreads);
}

void end_hopper_block(const char *kernel) {
  for (const Pending &thread : block().threads) {
    for (const auto &group : thread.products) {
      if (!group.empty()) fail(Status::internal, "%s: a product of wgmma that no wait covers", kernel);
    }
    for (const auto &group : thread.stores) {
      if (!group.empty()) fail(Status::internal, "%s: a store of TMA that no wait covers", kernel);
    }
  }
}

void barrier_init(uint64_t *barrier, uint32_t arrivals) {
  Phase phase = {static_cast<uint16_t>(arrivals), static_cast<uint16_t>(arrivals), 0};
  std::memcpy(barrier, &phase, sizeof phase);
}

void barrier_arrive(uint64_t *barrier, uint32_t bytes) {
  WM_RELEASE(barrier);
  Phase phase = read(barrier);
  phase.set(phase.bytes() + static_cast<int32_t>(bytes), phase.parity());
  if (phase.missing == 0) fail(Status::internal, "an mbarrier with more arrivals than its %d", phase.count);
  --phase.missing;
  write(barrier, phase);
}

bool barrier_passed(const uint64_t *barrier, uint32_t parity) { return read(barrier).parity() != parity; }

void barrier_wait(const uint64_t *barrier, uint32_t parity) {
  wait_until("mbarrier", [=] { return barrier_passed(barrier, parity); });
  WM_ACQUIRE(const_cast<uint64_t *>(barrier));
}

void named_barrier(int id, int threads, bool waits) {
  NamedBarrier &barrier = block().named[id];
  const int generation = barrier.generation;
  WM_RELEASE(&barrier);
  if (++barrier.arrived == threads) {
    barrier.arrived = 0;
    ++barrier.generation;
  } else if (waits) {
    wait_until("named barrier", [&] { return barrier.generation != generation; });
  }
  if (waits) WM_ACQUIRE(&barrier);
}

void tensor_load(void *tile, const CUtensorMap &opaque, uint64_t *barrier, const int (&at)[4]) {
  const Map map = map_of(opaque);
  int32_t bytes = 0;
  for_box(map, tile, at, [&](unsigned char *to, const unsigned char *from) {
    if (from != nullptr) std::memcpy(to, from, static_cast<size_t>(map.element));
    else std::memset(to, 0, static_cast<size_t>(map.element));
    bytes += map.element;
  });
  Phase phase = read(barrier);
  phase.set(phase.bytes() - bytes, phase.parity());
  write(barrier, phase);
}

void tensor_store_later(const CUtensorMap &map, const void *tile, const int (&at)[4]) {
  auto &groups = pending().stores;
  if (groups.empty()) groups.emplace_back();
  groups.back().push_back({map_of(map), static_cast<const unsigned char *>(tile), {at[0], at[1], at[2], at[3]}});
}

void tensor_commit() {
  auto &groups = pending().stores;
  if (groups.empty()) groups.emplace_back();
  groups.emplace_back();
}

void tensor_wait(int groups_left) {
  auto &groups = pending().stores;
  while (static_cast<int>(groups.size()) - 1 > groups_left) {
    for (const Store &store : groups.front()) execute(store);
    groups.pop_front();
  }
}

// Lane 8 i + r owns the address of row r of matrix i; lane 4 r + t the elements 2 t and 2 t + 1 of row r of each.
void store_matrices(void *row, const uint32_t (&r)[4]) {
  const Snapshot all = warp_exchange(wm::cuda::kFullMask, r, sizeof r, "stmatrix");
  const int lane = lane_id(), matrix = lane / 8, line = lane % 8;
  for (int t = 0; t < 4; ++t) {
    std::memcpy(static_cast<unsigned char *>(row) + 4 * t, all.lane[4 * line + t] + 4 * matrix, 4);
  }
}

void product_later(const WarpgroupProduct &product) {
  auto &groups = pending().products;
  if (groups.empty()) groups.emplace_back();
  groups.back().push_back(product);
}

void product_commit() {
  auto &groups = pending().products;
  if (groups.empty()) groups.emplace_back();
  groups.emplace_back();
}

// The wait belongs to the warp: no lane goes on before the products of all are done. The barrier in front lets other warps and
// the copy engine go first, which may overwrite what a kernel gave back too early.
void product_wait(int groups_left) {
  warp_barrier(wm::cuda::kFullMask);
  while (static_cast<int>(pending().products.size()) - 1 > groups_left) {
    const std::vector<WarpgroupProduct> group = pending().products.front();
    for (const WarpgroupProduct &product : group) {
      std::array<std::array<uint32_t, 4>, 32> fragments;
      if (product.a_in_registers) {
        const Snapshot all = warp_exchange(wm::cuda::kFullMask, product.fragment, sizeof product.fragment, "wgmma");
        for (size_t lane = 0; lane < 32; ++lane) std::memcpy(fragments[lane].data(), all.lane[lane], sizeof product.fragment);
      }
      execute(product, &fragments);
    }
    pending().products.pop_front();
  }
  warp_barrier(wm::cuda::kFullMask);
}

}  // namespace simt

namespace cuda {

CUtensorMap make_tensor_map(const void *data, DType dtype, const TensorMapShape &shape, bool swizzle) {
  simt::Map map = {};
  map.data = static_cast<unsigned char *>(const_cast<void *>(data));
  map.element = static_cast<int>(dtype_size(dtype));
  map.dims = shape.dims;
  map.swizzle = swizzle;
  if (!tensor_map_fits(data, dtype, shape) || shape.dims < 2 || shape.dims > 4 ||
      (swizzle && shape.box[0] * map.element > 128)) {
    fail(Status::device, "a tensor map that the driver would refuse");
  }
  for (int i = 0; i < 4; ++i) {
    map.size[i] = i < shape.dims ? shape.size[i] : 1;
    map.box[i] = i < shape.dims ? shape.box[i] : 1;
    map.stride[i] = i == 0 ? map.element : i < shape.dims ? shape.stride[i] * map.element : 0;
    if (map.box[i] < 1 || map.box[i] > 256) fail(Status::device, "a box of %d elements", map.box[i]);
  }
  CUtensorMap opaque = {};
  std::memcpy(&opaque, &map, sizeof map);
  return opaque;
}

}  // namespace cuda

}  // namespace wm
