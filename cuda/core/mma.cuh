// Matrix products of a warp (mma.sync), the loads that feed them (ldmatrix) and asynchronous copies (cp.async), each as
// the instruction under nvcc and as the same exchange between lanes in the emulation.
//
// Fragments of m16n8k16 (PTX ISA, "Matrix Fragments for mma.m16n8k16"), with g = lane / 4 and t = lane % 4; a register
// holds two bf16, the lower column (of A) or row (of B) in the low half:
//
//   | register | A: row, columns    | B: rows, column    | C and D: row, column |
//   | 0        | g, 2t and 2t+1     | 2t and 2t+1, g     | g, 2t                |
//   | 1        | g+8, 2t and 2t+1   | 2t+8 and 2t+9, g   | g, 2t+1              |
//   | 2        | g, 2t+8 and 2t+9   |                    | g+8, 2t              |
//   | 3        | g+8, 2t+8 and 2t+9 |                    | g+8, 2t+1            |
#pragma once

#include "cuda/core/half.cuh"
#include "cuda/core/simt.h"

#if !defined(__CUDACC__) || __CUDA_ARCH__ >= 800 || !defined(__CUDA_ARCH__)
#define WM_USE_MMA 1
#endif

namespace wm::cuda {

// Two bf16 in one register, rounded to nearest even.
__device__ __forceinline__ uint32_t pack_bf16(float low, float high) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  uint32_t packed;
  // cvt d, a, b: a goes to the upper half.
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  return packed;
#else
  return static_cast<uint32_t>(to_bf16(low).bits) | static_cast<uint32_t>(to_bf16(high).bits) << 16;
#endif
}

// 2^x within 2 units of the last place, 0 where the result would be subnormal: one instruction, where exp2f takes five.
__device__ __forceinline__ float exp2_approx(float x) {
#if defined(__CUDA_ARCH__)
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return exp2f(x);
#endif
}

__device__ __forceinline__ float unpack_low(uint32_t packed) { return float_from_bits(packed << 16); }
__device__ __forceinline__ float unpack_high(uint32_t packed) { return float_from_bits(packed & 0xffff0000u); }

#if defined(__CUDACC__)

__device__ __forceinline__ uint32_t shared_address(const void *shared) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(shared));
}

// d += a b, bf16 operands, f32 sums.
__device__ __forceinline__ void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#if __CUDA_ARCH__ >= 800
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

// Four 8 x 8 matrices of 2-byte elements: lanes 8i to 8i+7 name the 16-byte rows of matrix i, and register i of a lane
// receives row g, elements 2t and 2t+1 of it; the transposed form column g, rows 2t and 2t+1.
__device__ __forceinline__ void ldmatrix_x4(uint32_t (&r)[4], const void *row) {
#if __CUDA_ARCH__ >= 750
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(row)) : "memory");
#endif
}

__device__ __forceinline__ void ldmatrix_x4_trans(uint32_t (&r)[4], const void *row) {
#if __CUDA_ARCH__ >= 750
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(row)) : "memory");
#endif
}

// Two matrices, rows named by lanes 0 to 15.
__device__ __forceinline__ void ldmatrix_x2(uint32_t (&r)[2], const void *row) {
#if __CUDA_ARCH__ >= 750
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
               : "=r"(r[0]), "=r"(r[1]) : "r"(shared_address(row)) : "memory");
#endif
}

__device__ __forceinline__ void ldmatrix_x2_trans(uint32_t (&r)[2], const void *row) {
#if __CUDA_ARCH__ >= 750
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
               : "=r"(r[0]), "=r"(r[1]) : "r"(shared_address(row)) : "memory");
#endif
}

// 16 bytes from global to shared memory, both 16-byte aligned, past the first-level cache; zeros where not valid.
__device__ __forceinline__ void cp_async_16(void *shared, const void *global, bool valid = true) {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
               :: "r"(shared_address(shared)), "l"(global), "r"(valid ? 16 : 0) : "memory");
#endif
}

__device__ __forceinline__ void cp_async_commit() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Waits until at most `Left` committed groups of this thread are under way.
template <int Left>
__device__ __forceinline__ void cp_async_wait() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;" :: "n"(Left) : "memory");
#endif
}

#else

inline void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  const uint32_t given[6] = {a[0], a[1], a[2], a[3], b[0], b[1]};
  const simt::Snapshot &all = simt::warp_exchange(kFullMask, given, sizeof given, "mma.m16n8k16");
  const auto word = [&](int lane, int i) {
    uint32_t value;
    std::memcpy(&value, all.lane[lane] + 4 * i, 4);
    return value;
  };
  const int g = simt::lane_id() / 4, t = simt::lane_id() % 4;
  for (int i = 0; i < 4; ++i) {
    const int row = g + 8 * (i / 2), column = 2 * t + i % 2;
    float sum = d[i];
    for (int k = 0; k < 16; ++k) {
      const uint32_t left = word((row % 8) * 4 + k % 8 / 2, row / 8 + 2 * (k / 8));
      const uint32_t right = word(column * 4 + k % 8 / 2, 4 + k / 8);
      sum += (k % 2 == 0 ? unpack_low(left) : unpack_high(left)) * (k % 2 == 0 ? unpack_low(right) : unpack_high(right));
    }
    d[i] = sum;
  }
}

namespace detail {

template <int N>
void ldmatrix(uint32_t (&r)[N], const void *row, bool transposed) {
  const simt::Snapshot &all = simt::warp_exchange(kFullMask, &row, sizeof row, "ldmatrix");
  const int g = simt::lane_id() / 4, t = simt::lane_id() % 4;
  for (int i = 0; i < N; ++i) {
    const auto element = [&](int matrix_row, int column) {
      const unsigned char *address;
      std::memcpy(&address, all.lane[8 * i + matrix_row], sizeof address);
      uint16_t value;
      std::memcpy(&value, address + 2 * column, 2);
      return static_cast<uint32_t>(value);
    };
    r[i] = transposed ? element(2 * t, g) | element(2 * t + 1, g) << 16 : element(g, 2 * t) | element(g, 2 * t + 1) << 16;
  }
}

}  // namespace detail

inline void ldmatrix_x4(uint32_t (&r)[4], const void *row) { detail::ldmatrix(r, row, false); }
inline void ldmatrix_x4_trans(uint32_t (&r)[4], const void *row) { detail::ldmatrix(r, row, true); }
inline void ldmatrix_x2(uint32_t (&r)[2], const void *row) { detail::ldmatrix(r, row, false); }
inline void ldmatrix_x2_trans(uint32_t (&r)[2], const void *row) { detail::ldmatrix(r, row, true); }
inline void cp_async_16(void *shared, const void *global, bool valid = true) { simt::copy_later(shared, global, 16, valid); }
inline void cp_async_commit() { simt::commit_copies(); }
template <int Left>
void cp_async_wait() { simt::wait_copies(Left); }

#endif

}  // namespace wm::cuda
