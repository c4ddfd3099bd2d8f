// The instructions of sm90.cuh in the emulation (cuda/core/simt.h), with the meaning that the header's comments state. What a
// device does later happens as late as it may: products at the wait for their group, stores at the wait for them.
#pragma once

#include "cuda/core/simt.h"

#define __grid_constant__

struct CUtensorMap;

namespace wm::simt {

// One wgmma of one thread: its own sums, from operands in shared memory or its part of a fragment of A.
struct WarpgroupProduct {
  float *d;
  int columns;
  uint64_t a, b;  // descriptors
  uint32_t fragment[4];
  bool a_in_registers, a_mn, b_mn, accumulate;
};

uint32_t shared_offset(const void *shared);
void barrier_init(uint64_t *barrier, uint32_t arrivals);
void barrier_arrive(uint64_t *barrier, uint32_t bytes);
bool barrier_passed(const uint64_t *barrier, uint32_t parity);
void barrier_wait(const uint64_t *barrier, uint32_t parity);
void named_barrier(int id, int threads, bool waits);
void tensor_load(void *tile, const CUtensorMap &map, uint64_t *barrier, const int (&coordinates)[4]);
void tensor_store_later(const CUtensorMap &map, const void *tile, const int (&coordinates)[4]);
void tensor_commit();
void tensor_wait(int groups_left);
void store_matrices(void *row, const uint32_t (&r)[4]);
void product_later(const WarpgroupProduct &product);
void product_commit();
void product_wait(int groups_left);

}  // namespace wm::simt

namespace wm::cuda {

inline uint32_t shared_u32(const void *shared) { return simt::shared_offset(shared); }
inline void barrier_init(uint64_t *barrier, uint32_t arrivals) { simt::barrier_init(barrier, arrivals); }
inline void barrier_init_fence() {}
inline void barrier_arrive(uint64_t *barrier) { simt::barrier_arrive(barrier, 0); }
inline void barrier_expect(uint64_t *barrier, uint32_t bytes) { simt::barrier_arrive(barrier, bytes); }
inline bool barrier_try_wait(uint64_t *barrier, uint32_t parity) { return simt::barrier_passed(barrier, parity); }
inline void barrier_wait(uint64_t *barrier, uint32_t parity) { simt::barrier_wait(barrier, parity); }
inline void named_sync(int id, int threads) { simt::named_barrier(id, threads, true); }
inline void named_arrive(int id, int threads) { simt::named_barrier(id, threads, false); }
template <int kRegisters>
void registers_grow() {}
template <int kRegisters>
void registers_shrink() {}

inline void tma_prefetch(const CUtensorMap &) {}
inline void tma_load_2d(void *tile, const CUtensorMap &map, uint64_t *barrier, int c0, int c1) {
  simt::tensor_load(tile, map, barrier, {c0, c1, 0, 0});
}
inline void tma_load_3d(void *tile, const CUtensorMap &map, uint64_t *barrier, int c0, int c1, int c2) {
  simt::tensor_load(tile, map, barrier, {c0, c1, c2, 0});
}
inline void tma_load_4d(void *tile, const CUtensorMap &map, uint64_t *barrier, int c0, int c1, int c2, int c3) {
  simt::tensor_load(tile, map, barrier, {c0, c1, c2, c3});
}
inline void tma_store_2d(const CUtensorMap &map, const void *tile, int c0, int c1) {
  simt::tensor_store_later(map, tile, {c0, c1, 0, 0});
}
inline void tma_store_3d(const CUtensorMap &map, const void *tile, int c0, int c1, int c2) {
  simt::tensor_store_later(map, tile, {c0, c1, c2, 0});
}
inline void tma_store_4d(const CUtensorMap &map, const void *tile, int c0, int c1, int c2, int c3) {
  simt::tensor_store_later(map, tile, {c0, c1, c2, c3});
}
inline void tma_commit() { simt::tensor_commit(); }
template <int kPending>
void tma_wait_read() { simt::tensor_wait(kPending); }
inline void fence_async_shared() {}
inline void stmatrix_x4(void *row, uint32_t r0, uint32_t r1, uint32_t r2, uint32_t r3) {
  simt::store_matrices(row, {r0, r1, r2, r3});
}

inline void wgmma_fence() {}
inline void wgmma_commit() { simt::product_commit(); }
template <int kPending>
void wgmma_wait() { simt::product_wait(kPending); }
template <class T, int kCount>
void wgmma_keep(T (&)[kCount]) {}

template <int kColumns>
struct Wgmma {
  template <int kMnA, int kMnB>
  static void shared(float (&d)[kColumns / 2], uint64_t a, uint64_t b, bool accumulate) {
    simt::product_later({d, kColumns, a, b, {}, false, kMnA != 0, kMnB != 0, accumulate});
  }
  template <int kMnB>
  static void registers(float (&d)[kColumns / 2], const uint32_t (&a)[4], uint64_t b, bool accumulate) {
    simt::product_later({d, kColumns, 0, b, {a[0], a[1], a[2], a[3]}, true, false, kMnB != 0, accumulate});
  }
};

}  // namespace wm::cuda
