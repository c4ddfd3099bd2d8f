// One source for two compilers: what a portable kernel may use, under nvcc and under a plain C++ compiler.
//
// nvcc sees CUDA itself. A plain compiler sees, with WM_SIMT, the emulation declared here and defined in test/simt: the threads of a
// block are fibers of one thread, blocks run one after another, and every operation that waits (barriers, shuffles,
// votes, mma) hands over to the next fiber. That finds what a device hides: a barrier that some threads never reach, a
// collective whose lanes disagree, reads of shared memory nobody wrote, and, under ThreadSanitizer, two threads that
// touch one word with no barrier between (test/simt/README.md).
//
// Rules for kernels: launch through WM_LAUNCH, dynamic shared memory through WM_DYNAMIC_SHARED, explicit masks, no
// inline assembler (cuda/core/mma.cuh and sm90.cuh hold it), no return before a barrier of the block.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "native/core/status.h"

#if defined(__CUDACC__)

#include <cuda_runtime.h>

#define WM_DYNAMIC_SHARED(T, name)                                 \
  extern __shared__ __align__(128) unsigned char wm_dynamic_shared[]; \
  T *name = reinterpret_cast<T *>(wm_dynamic_shared)

#elif defined(WM_SIMT)

#include <cmath>
#include <functional>
#include <tuple>
#include <type_traits>

#include <cuda_runtime_api.h>

#define __global__
#define __device__
#define __host__
#define __shared__ static
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))

#define WM_DYNAMIC_SHARED(T, name) T *name = static_cast<T *>(::wm::simt::dynamic_shared())

#if defined(__SANITIZE_THREAD__)
#define WM_SIMT_UNWATCHED __attribute__((no_sanitize_thread, noinline))
#else
#define WM_SIMT_UNWATCHED
#endif

// Of the running fiber; a plain object, since one fiber runs at a time.
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;

namespace wm::simt {

// Bytes that one lane may hand to the others of its warp in one collective.
constexpr int kPayload = 32;
struct Snapshot {
  unsigned char lane[32][kPayload];
};

void *dynamic_shared();
int lane_id();

// `place` is the source line: threads that wait at different lines of one barrier are divergent.
void block_barrier(const char *place);
// Hands over `bytes` of each lane of `mask`; returns what all of them gave. Valid until the lane's next collective.
const Snapshot &warp_exchange(unsigned mask, const void *payload, int bytes, const char *kind);
// As warp_exchange, and orders memory between the lanes.
void warp_barrier(unsigned mask);
// Barrier with a count of the threads whose predicate holds.
int block_count(bool predicate, const char *place);

// cp.async: the copy happens at the wait that covers its group, as late as a device may do it.
void copy_later(void *shared, const void *global, int bytes, bool valid);
void commit_copies();
void wait_copies(int groups_left);

void run(const char *name, dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()> &thread);

// Whether the stream notes its work instead of doing it (test/simt/runtime.cpp), and work for it to note.
bool captures(cudaStream_t stream);
cudaError_t note(cudaStream_t stream, std::function<void()> work);

template <class T>
T shuffle(unsigned mask, T value, int source, const char *kind) {
  static_assert(sizeof(T) <= sizeof(uint64_t) && std::is_trivially_copyable<T>::value, "shuffles move 4 or 8 bytes");
  const Snapshot &all = warp_exchange(mask, &value, sizeof(T), kind);
  T result;
  // A lane outside the mask gives an undefined value on a device; its own value stands in here.
  if ((mask >> source & 1u) == 0) return value;
  std::memcpy(&result, all.lane[source], sizeof(T));
  return result;
}

unsigned ballot(unsigned mask, bool predicate);

}  // namespace wm::simt

#define WM_SIMT_TEXT(x) #x
#define WM_SIMT_LINE(x) WM_SIMT_TEXT(x)
#define WM_SIMT_PLACE __FILE__ ":" WM_SIMT_LINE(__LINE__)

#define __syncthreads() ::wm::simt::block_barrier(WM_SIMT_PLACE)
#define __syncthreads_count(p) ::wm::simt::block_count((p) != 0, WM_SIMT_PLACE)
#define __syncthreads_or(p) (::wm::simt::block_count((p) != 0, WM_SIMT_PLACE) > 0)
#define __syncthreads_and(p) (::wm::simt::block_count((p) == 0, WM_SIMT_PLACE) == 0)

inline void __syncwarp(unsigned mask = 0xffffffffu) { ::wm::simt::warp_barrier(mask); }
inline unsigned __ballot_sync(unsigned mask, int predicate) { return ::wm::simt::ballot(mask, predicate != 0); }
inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline int __all_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate == 0) == 0; }

// `width` splits a warp into segments that shuffle among themselves, as on a device.
template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32) {
  const int base = ::wm::simt::lane_id() & ~(width - 1);
  return ::wm::simt::shuffle(mask, value, base + (source & (width - 1)), "shfl");
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32) {
  const int lane = ::wm::simt::lane_id(), other = lane ^ bits;
  return ::wm::simt::shuffle(mask, value, other >= (lane & ~(width - 1)) + width ? lane : other, "shfl.bfly");
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  const int lane = ::wm::simt::lane_id(), other = lane - static_cast<int>(delta);
  return ::wm::simt::shuffle(mask, value, other < (lane & ~(width - 1)) ? lane : other, "shfl.up");
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  const int lane = ::wm::simt::lane_id(), other = lane + static_cast<int>(delta);
  return ::wm::simt::shuffle(mask, value, other >= (lane & ~(width - 1)) + width ? lane : other, "shfl.down");
}

// Fibers never run at once, so a plain read, change and write is atomic; the builtins tell the sanitizer.
template <class T, class F>
WM_SIMT_UNWATCHED T wm_simt_update(T *address, F change) {
  T old, next;
  __atomic_load(address, &old, __ATOMIC_RELAXED);
  next = change(old);
  __atomic_store(address, &next, __ATOMIC_RELAXED);
  return old;
}
template <class T>
T atomicAdd(T *address, T value) { return wm_simt_update(address, [=](T old) { return static_cast<T>(old + value); }); }
template <class T>
T atomicMax(T *address, T value) { return wm_simt_update(address, [=](T old) { return old > value ? old : value; }); }
template <class T>
T atomicMin(T *address, T value) { return wm_simt_update(address, [=](T old) { return old < value ? old : value; }); }
template <class T>
T atomicOr(T *address, T value) { return wm_simt_update(address, [=](T old) { return static_cast<T>(old | value); }); }
template <class T>
T atomicAnd(T *address, T value) { return wm_simt_update(address, [=](T old) { return static_cast<T>(old & value); }); }
template <class T>
T atomicExch(T *address, T value) { return wm_simt_update(address, [=](T) { return value; }); }
template <class T>
T atomicCAS(T *address, T expected, T value) {
  return wm_simt_update(address, [=](T old) { return old == expected ? value : old; });
}
inline void __threadfence() {}
inline void __threadfence_block() {}

// glibc declares functions of these names for itself.
#define __expf(x) ::expf(x)
#define __logf(x) ::logf(x)
#define __log2f(x) ::log2f(x)
#define __powf(x, y) ::powf(x, y)
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fsqrt_rn(float x) { return sqrtf(x); }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dsub_rn(double a, double b) { return a - b; }
inline int __float2int_rn(float x) { return static_cast<int>(rintf(x)); }
inline int __float2int_rz(float x) { return static_cast<int>(x); }
inline int __float2int_rd(float x) { return static_cast<int>(floorf(x)); }
inline float __saturatef(float x) { return x < 0 ? 0.0f : (x > 1 ? 1.0f : x); }
template <class To, class From>
To wm_simt_bits(From x) {
  static_assert(sizeof(To) == sizeof(From), "same size");
  To y;
  std::memcpy(&y, &x, sizeof y);
  return y;
}
inline unsigned __float_as_uint(float x) { return wm_simt_bits<unsigned>(x); }
inline int __float_as_int(float x) { return wm_simt_bits<int>(x); }
inline float __uint_as_float(unsigned x) { return wm_simt_bits<float>(x); }
inline float __int_as_float(int x) { return wm_simt_bits<float>(x); }
inline long long __double_as_longlong(double x) { return wm_simt_bits<long long>(x); }
inline double __longlong_as_double(long long x) { return wm_simt_bits<double>(x); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz(static_cast<unsigned>(x)); }
inline int __clzll(long long x) { return x == 0 ? 64 : __builtin_clzll(static_cast<unsigned long long>(x)); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned>(uint64_t{a} * b >> 32); }
template <class T>
T __ldg(const T *address) { return *address; }

using std::isfinite;
using std::isinf;
using std::isnan;
template <class T>
constexpr T min(T a, T b) { return b < a ? b : a; }
template <class T>
constexpr T max(T a, T b) { return a < b ? b : a; }


#else  // the module's own C++ files, which hold no kernels

#include <cuda_runtime_api.h>

#endif

namespace wm::cuda {

constexpr unsigned kFullMask = 0xffffffffu;
constexpr int kWarp = 32;

// Throws wm::Error with the status of a failed runtime call.
[[noreturn]] void throw_error(cudaError_t error, const char *what);

#if defined(__CUDACC__) || defined(WM_SIMT)

// Static shared memory a launch may ask for without saying so first.
constexpr size_t kPlainSharedLimit = 48 * 1024;

// Queues kernel(args...) on the stream; the arguments are converted to the kernel's parameter types. No launch where the
// grid is empty.
template <class... Parameters, class... Arguments>
void launch(const char *name, void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes,
            cudaStream_t stream, const Arguments &...arguments) {
  static_assert(sizeof...(Parameters) == sizeof...(Arguments), "as many arguments as the kernel has parameters");
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
#if defined(__CUDACC__)
  if (shared_bytes > kPlainSharedLimit) {
    const cudaError_t raised = cudaFuncSetAttribute(reinterpret_cast<const void *>(kernel),
                                                    cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared_bytes));
    if (raised != cudaSuccess) throw_error(raised, name);
  }
  const auto queue = [&](Parameters... values) {
    void *pointers[] = {const_cast<void *>(static_cast<const volatile void *>(&values))..., nullptr};
    return cudaLaunchKernel(reinterpret_cast<const void *>(kernel), grid, block, pointers, shared_bytes, stream);
  };
  const cudaError_t error = queue(static_cast<Parameters>(arguments)...);
  if (error != cudaSuccess) throw_error(error, name);
#else
  if (simt::captures(stream)) {
    // By value: what the launcher holds is gone when the graph runs.
    const std::tuple<std::decay_t<Parameters>...> values(static_cast<Parameters>(arguments)...);
    const cudaError_t error =
        simt::note(stream, [=] { simt::run(name, grid, block, shared_bytes, [&] { std::apply(kernel, values); }); });
    if (error != cudaSuccess) throw_error(error, name);
    return;
  }
  simt::run(name, grid, block, shared_bytes, [&] { kernel(static_cast<Parameters>(arguments)...); });
#endif
}

#endif

}  // namespace wm::cuda

// WM_LAUNCH(kernel, grid, block, shared_bytes, stream, arguments...); a template kernel stands in parentheses.
#define WM_LAUNCH(kernel, ...) ::wm::cuda::launch(#kernel, kernel, __VA_ARGS__)
