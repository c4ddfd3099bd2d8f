// Hopper's own instructions (sm_90a alone, and emulated): mbarriers, the tensor copy engine (TMA), warpgroup products (wgmma),
// register reallocation, named barriers. WM_USE_WGMMA is 1 where this pass compiles them; kernels that call them keep their
// bodies inside #if WM_USE_WGMMA and live in *_sm90.cu.
//
// Tiles in shared memory: rows of 128 bytes (64 bf16), 1024-byte aligned, written by TMA with the 128-byte swizzle: the
// 16-byte chunk c of row r lies at chunk c ^ (r % 8). A "K-major" tile has K along its rows, an "MN-major" one M or N.
#pragma once

#include <cuda.h>

#include <cstdint>

#if defined(__CUDA_ARCH_FEAT_SM90_ALL) || !defined(__CUDACC__)
#define WM_USE_WGMMA 1
#else
#define WM_USE_WGMMA 0
#endif

#if WM_USE_WGMMA

#if !defined(__CUDACC__)
#include "cuda/core/sm90_simt.cuh"
#endif

namespace wm::cuda {

constexpr int kWarpgroup = 128;  // threads that issue a wgmma together: four warps from a multiple of four on
constexpr uint32_t kSwizzleRow = 128, kSwizzleAtom = 8 * kSwizzleRow;  // bytes

// Byte offset in a tile of 128-byte rows -> where the swizzle puts it.
__device__ __forceinline__ uint32_t swizzle_128(uint32_t offset) { return offset ^ ((offset >> 3) & 0x70u); }

#if defined(__CUDACC__)

__device__ __forceinline__ uint32_t shared_u32(const void *shared) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(shared));
}

// --- mbarrier: a phase ends once `arrivals` threads arrived and the expected bytes came; waiting names the phase's parity.
// mbarrier.init.shared::cta.b64 [barrier], arrivals: by one thread, then barrier_init_fence and __syncthreads.
__device__ __forceinline__ void barrier_init(uint64_t *barrier, uint32_t arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_u32(barrier)), "r"(arrivals) : "memory");
}
// Makes the initialisation visible to the copy engine.
__device__ __forceinline__ void barrier_init_fence() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
// mbarrier.arrive.shared::cta.b64 state, [barrier]
__device__ __forceinline__ void barrier_arrive(uint64_t *barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_u32(barrier)) : "memory");
}
// mbarrier.arrive.expect_tx.shared::cta.b64 state, [barrier], bytes: one arrival that also announces TMA bytes.
__device__ __forceinline__ void barrier_expect(uint64_t *barrier, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_u32(barrier)), "r"(bytes)
               : "memory");
}
// mbarrier.try_wait.parity.shared::cta.b64 done, [barrier], parity: may sleep for a while before it says no.
__device__ __forceinline__ bool barrier_try_wait(uint64_t *barrier, uint32_t parity) {
  uint32_t done;
  asm volatile(
      "{\n.reg .pred p;\n"
      "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
      "selp.u32 %0, 1, 0, p;\n}"
      : "=r"(done)
      : "r"(shared_u32(barrier)), "r"(parity)
      : "memory");
  return done != 0;
}
// A barrier starts in phase 0: waiting for parity 1 then returns at once, for parity 0 once the first phase ended.
__device__ __forceinline__ void barrier_wait(uint64_t *barrier, uint32_t parity) {
  while (!barrier_try_wait(barrier, parity)) {
  }
}

// --- Named barriers (ids 1 to 15; 0 is __syncthreads): bar.sync id, threads and bar.arrive id, threads.
__device__ __forceinline__ void named_sync(int id, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
__device__ __forceinline__ void named_arrive(int id, int threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

// --- setmaxnreg.{inc,dec}.sync.aligned.u32 n: whole warpgroups, n a multiple of 8 in 24 .. 256. The kernel needs
// __launch_bounds__(threads, 1); the sum over its warpgroups must not exceed what it was launched with.
template <int kRegisters>
__device__ __forceinline__ void registers_grow() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ __forceinline__ void registers_shrink() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

// --- TMA. One thread issues; coordinates count elements, innermost dimension first; parts outside the tensor read as
// zero and are not written. Maps come from cuda/core/tensor_map.h as `const __grid_constant__ CUtensorMap` parameters.
__device__ __forceinline__ void tma_prefetch(const CUtensorMap &map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory");
}
// cp.async.bulk.tensor.Nd.shared::cluster.global.tile.mbarrier::complete_tx::bytes [tile], [map, {c...}], [barrier]
__device__ __forceinline__ void tma_load_2d(void *tile, const CUtensorMap &map, uint64_t *barrier, int c0, int c1) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], [%2];" ::
          "r"(shared_u32(tile)), "l"(&map), "r"(shared_u32(barrier)), "r"(c0), "r"(c1)
      : "memory");
}
__device__ __forceinline__ void tma_load_3d(void *tile, const CUtensorMap &map, uint64_t *barrier, int c0, int c1, int c2) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5}], [%2];" ::
          "r"(shared_u32(tile)), "l"(&map), "r"(shared_u32(barrier)), "r"(c0), "r"(c1), "r"(c2)
      : "memory");
}
__device__ __forceinline__ void tma_load_4d(void *tile, const CUtensorMap &map, uint64_t *barrier, int c0, int c1, int c2, int c3) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, %6}], [%2];" ::
          "r"(shared_u32(tile)), "l"(&map), "r"(shared_u32(barrier)), "r"(c0), "r"(c1), "r"(c2), "r"(c3)
      : "memory");
}
// cp.async.bulk.tensor.Nd.global.shared::cta.tile.bulk_group [map, {c...}], [tile]: fence_async_shared by the writers and a
// barrier come first, tma_commit and tma_wait_read after.
__device__ __forceinline__ void tma_store_2d(const CUtensorMap &map, const void *tile, int c0, int c1) {
  asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [%0, {%2, %3}], [%1];" ::"l"(&map),
               "r"(shared_u32(tile)), "r"(c0), "r"(c1)
               : "memory");
}
__device__ __forceinline__ void tma_store_3d(const CUtensorMap &map, const void *tile, int c0, int c1, int c2) {
  asm volatile("cp.async.bulk.tensor.3d.global.shared::cta.tile.bulk_group [%0, {%2, %3, %4}], [%1];" ::"l"(&map),
               "r"(shared_u32(tile)), "r"(c0), "r"(c1), "r"(c2)
               : "memory");
}
__device__ __forceinline__ void tma_store_4d(const CUtensorMap &map, const void *tile, int c0, int c1, int c2, int c3) {
  asm volatile("cp.async.bulk.tensor.4d.global.shared::cta.tile.bulk_group [%0, {%2, %3, %4, %5}], [%1];" ::"l"(&map),
               "r"(shared_u32(tile)), "r"(c0), "r"(c1), "r"(c2), "r"(c3)
               : "memory");
}
__device__ __forceinline__ void tma_commit() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }
// Until at most kPending of this thread's committed groups still read shared memory.
template <int kPending>
__device__ __forceinline__ void tma_wait_read() {
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(kPending) : "memory");
}
// Orders this thread's ordinary writes of shared memory before reads by TMA and wgmma.
__device__ __forceinline__ void fence_async_shared() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// stmatrix.sync.aligned.m8n8.x4.shared.b16 [row], {r0, r1, r2, r3}: lanes 8i .. 8i + 7 give the addresses of the eight
// 16-byte rows of matrix i; lane l holds columns 2 (l % 4), +1 of row l / 4 of each. Four neighbouring pairs of a wgmma
// accumulator, packed, are matrices (rows 0-7, 8-15) x (columns 0-7, then 8-15) of the warp's 16 rows.
__device__ __forceinline__ void stmatrix_x4(void *row, uint32_t r0, uint32_t r1, uint32_t r2, uint32_t r3) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(shared_u32(row)), "r"(r0), "r"(r1),
               "r"(r2), "r"(r3)
               : "memory");
}

// --- wgmma. wgmma.fence: before the first product and whenever registers it reads or adds to were written by other instructions.
__device__ __forceinline__ void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
// Until at most kPending committed groups run; accumulators may be read only after their group.
template <int kPending>
__device__ __forceinline__ void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}
// Keeps the compiler from moving accumulators or A fragments across a fence or wait.
template <int kCount>
__device__ __forceinline__ void wgmma_keep(float (&d)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+f"(d[i])::"memory");
}
template <int kCount>
__device__ __forceinline__ void wgmma_keep(uint32_t (&a)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+r"(a[i])::"memory");
}

// Wgmma<N>: wgmma.mma_async.sync.aligned.m64nNk16.f32.bf16.bf16 d, a, b, accumulate, 1, 1 (, trans-a), trans-b
//   d [64, N] f32 = (accumulate ? d : 0) + a [64, 16] b [16, N]. kMnA, kMnB: 1 where that operand's tile is MN-major.
//   d: warp w of the warpgroup has rows 16 w ..; lane l holds d[4 j + 2 h + e] = row 16 w + l / 4 + 8 h, column 8 j + 2 (l % 4) + e.
//   a in registers (K-major), bf16 pairs: a[2 g + h] = row 16 w + l / 4 + 8 h, columns 8 g + 2 (l % 4), + 1: the packed d of
//   columns 16 i .. 16 i + 15 is the a of the i-th 16 of K of a second product.
template <int kColumns>
struct Wgmma;

// The text and operands of N / 16 times eight accumulators.
#define WM_TEXT_1 "%0, %1, %2, %3, %4, %5, %6, %7"
#define WM_TEXT_2 WM_TEXT_1 ", " "%8, %9, %10, %11, %12, %13, %14, %15"
#define WM_TEXT_3 WM_TEXT_2 ", " "%16, %17, %18, %19, %20, %21, %22, %23"
#define WM_TEXT_4 WM_TEXT_3 ", " "%24, %25, %26, %27, %28, %29, %30, %31"
#define WM_TEXT_5 WM_TEXT_4 ", " "%32, %33, %34, %35, %36, %37, %38, %39"
#define WM_TEXT_6 WM_TEXT_5 ", " "%40, %41, %42, %43, %44, %45, %46, %47"
#define WM_TEXT_7 WM_TEXT_6 ", " "%48, %49, %50, %51, %52, %53, %54, %55"
#define WM_TEXT_8 WM_TEXT_7 ", " "%56, %57, %58, %59, %60, %61, %62, %63"
#define WM_TEXT_9 WM_TEXT_8 ", " "%64, %65, %66, %67, %68, %69, %70, %71"
#define WM_TEXT_10 WM_TEXT_9 ", " "%72, %73, %74, %75, %76, %77, %78, %79"
#define WM_TEXT_11 WM_TEXT_10 ", " "%80, %81, %82, %83, %84, %85, %86, %87"
#define WM_TEXT_12 WM_TEXT_11 ", " "%88, %89, %90, %91, %92, %93, %94, %95"
#define WM_TEXT_13 WM_TEXT_12 ", " "%96, %97, %98, %99, %100, %101, %102, %103"
#define WM_TEXT_14 WM_TEXT_13 ", " "%104, %105, %106, %107, %108, %109, %110, %111"
#define WM_TEXT_15 WM_TEXT_14 ", " "%112, %113, %114, %115, %116, %117, %118, %119"
#define WM_TEXT_16 WM_TEXT_15 ", " "%120, %121, %122, %123, %124, %125, %126, %127"
#define WM_EIGHT(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), \
                    "+f"(d[i + 6]), "+f"(d[i + 7])
#define WM_SUMS_1 WM_EIGHT(0)
#define WM_SUMS_2 WM_SUMS_1, WM_EIGHT(8)
#define WM_SUMS_3 WM_SUMS_2, WM_EIGHT(16)
#define WM_SUMS_4 WM_SUMS_3, WM_EIGHT(24)
#define WM_SUMS_5 WM_SUMS_4, WM_EIGHT(32)
#define WM_SUMS_6 WM_SUMS_5, WM_EIGHT(40)
#define WM_SUMS_7 WM_SUMS_6, WM_EIGHT(48)
#define WM_SUMS_8 WM_SUMS_7, WM_EIGHT(56)
#define WM_SUMS_9 WM_SUMS_8, WM_EIGHT(64)
#define WM_SUMS_10 WM_SUMS_9, WM_EIGHT(72)
#define WM_SUMS_11 WM_SUMS_10, WM_EIGHT(80)
#define WM_SUMS_12 WM_SUMS_11, WM_EIGHT(88)
#define WM_SUMS_13 WM_SUMS_12, WM_EIGHT(96)
#define WM_SUMS_14 WM_SUMS_13, WM_EIGHT(104)
#define WM_SUMS_15 WM_SUMS_14, WM_EIGHT(112)
#define WM_SUMS_16 WM_SUMS_15, WM_EIGHT(120)

// WM_WGMMA(N, N / 16, numbers of the seven operands behind the accumulators)
#define WM_WGMMA(N, PARTS, O0, O1, O2, O3, O4, O5, O6)                                                                  \
  template <>                                                                                                           \
  struct Wgmma<N> {                                                                                                     \
    template <int kMnA, int kMnB>                                                                                       \
    static __device__ __forceinline__ void shared(float (&d)[N / 2], uint64_t a, uint64_t b, bool accumulate) {          \
      asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %" #O2 ", 0;\n"                                                     \
                   "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32.bf16.bf16 {" WM_TEXT_##PARTS "}, %" #O0 ", %" #O1      \
                   ", p, 1, 1, %" #O3 ", %" #O4 ";\n}"                                                                   \
                   : WM_SUMS_##PARTS                                                                                    \
                   : "l"(a), "l"(b), "r"(static_cast<int>(accumulate)), "n"(kMnA), "n"(kMnB));                          \
    }                                                                                                                   \
    template <int kMnB>                                                                                                 \
    static __device__ __forceinline__ void registers(float (&d)[N / 2], const uint32_t (&a)[4], uint64_t b,             \
                                                     bool accumulate) {                                                 \
      asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %" #O5 ", 0;\n"                                                     \
                   "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32.bf16.bf16 {" WM_TEXT_##PARTS "}, {%" #O0 ", %" #O1     \
                   ", %" #O2 ", %" #O3 "}, %" #O4 ", p, 1, 1, %" #O6 ";\n}"                                              \
                   : WM_SUMS_##PARTS                                                                                    \
                   : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(accumulate)), "n"(kMnB)); \
    }                                                                                                                   \
  };

WM_WGMMA(16, 1, 8, 9, 10, 11, 12, 13, 14)
WM_WGMMA(32, 2, 16, 17, 18, 19, 20, 21, 22)
WM_WGMMA(48, 3, 24, 25, 26, 27, 28, 29, 30)
WM_WGMMA(64, 4, 32, 33, 34, 35, 36, 37, 38)
WM_WGMMA(80, 5, 40, 41, 42, 43, 44, 45, 46)
WM_WGMMA(96, 6, 48, 49, 50, 51, 52, 53, 54)
WM_WGMMA(112, 7, 56, 57, 58, 59, 60, 61, 62)
WM_WGMMA(128, 8, 64, 65, 66, 67, 68, 69, 70)
WM_WGMMA(144, 9, 72, 73, 74, 75, 76, 77, 78)
WM_WGMMA(160, 10, 80, 81, 82, 83, 84, 85, 86)
WM_WGMMA(176, 11, 88, 89, 90, 91, 92, 93, 94)
WM_WGMMA(192, 12, 96, 97, 98, 99, 100, 101, 102)
WM_WGMMA(208, 13, 104, 105, 106, 107, 108, 109, 110)
WM_WGMMA(224, 14, 112, 113, 114, 115, 116, 117, 118)
WM_WGMMA(240, 15, 120, 121, 122, 123, 124, 125, 126)
WM_WGMMA(256, 16, 128, 129, 130, 131, 132, 133, 134)

#undef WM_WGMMA
#undef WM_EIGHT

#endif  // __CUDACC__

// Shared-memory operands of wgmma are named by 64-bit descriptors:
//   bits  0-13 start address / 16      bits 32-45 stride byte offset / 16      bits 62-63 swizzle, 1 = 128 bytes
//   bits 16-29 leading byte offset / 16      bits 49-51 base offset, 0 for atoms on 1024-byte lines
// Adding bytes / 16 to a descriptor moves its start.
__device__ __forceinline__ uint64_t wgmma_descriptor(const void *tile, uint32_t leading_bytes, uint32_t stride_bytes) {
  return static_cast<uint64_t>((shared_u32(tile) & 0x3ffffu) >> 4) | static_cast<uint64_t>(leading_bytes >> 4) << 16 |
         static_cast<uint64_t>(stride_bytes >> 4) << 32 | uint64_t{1} << 62;
}
// K-major tile [rows of M or N][64 of K]: groups of eight rows lie 1024 bytes apart (the leading offset is not used).
// The next 16 of K start 32 bytes on.
__device__ __forceinline__ uint64_t wgmma_descriptor_k(const void *tile) {
  return wgmma_descriptor(tile, 16, kSwizzleAtom);
}
constexpr uint64_t kDescriptorStepK = 32 / 16;
// MN-major tiles [rows of K][64 of M or N], one every `tile_bytes` (128 times its rows of K): leading = the next 64 of M or
// N, stride = the next eight rows of K. The next 16 of K start 2048 bytes on.
__device__ __forceinline__ uint64_t wgmma_descriptor_mn(const void *tile, uint32_t tile_bytes) {
  return wgmma_descriptor(tile, tile_bytes, kSwizzleAtom);
}
constexpr uint64_t kDescriptorStepMn = 2 * kSwizzleAtom / 16;

}  // namespace wm::cuda

#endif  // WM_USE_WGMMA
