// The emulation itself: what it computes, and that each fault a kernel can have is found and named.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "cuda/core/mma.cuh"
#include "cuda/core/reduce.cuh"
#include "cuda/core/simt.h"
#include "test/native/check.h"

using namespace wm;
using namespace wm::cuda;

namespace {

constexpr cudaStream_t kStream = nullptr;

// The text of the failure, or "" where the launch went well.
template <class F>
std::string failure_of(F launch) {
  try {
    launch();
    return "";
  } catch (const Error &error) {
    return error.what();
  }
}

bool contains(const std::string &text, const char *part) { return text.find(part) != std::string::npos; }

__global__ void index_kernel(int *y) {
  const int block = static_cast<int>(blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z));
  const int thread = static_cast<int>(threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z));
  y[block * static_cast<int>(blockDim.x * blockDim.y * blockDim.z) + thread] = block * 1000 + thread;
}

__global__ void reverse_kernel(const float *x, float *y) {
  __shared__ float row[96];
  row[threadIdx.x] = x[blockIdx.x * 96 + threadIdx.x];
  __syncthreads();
  y[blockIdx.x * 96 + threadIdx.x] = row[95 - threadIdx.x];
}

__global__ void reduce_kernel(float *sum, float *largest, int *count) {
  __shared__ float scratch[32];
  const float value = static_cast<float>(threadIdx.x) - 10.0f;
  const float total = block_sum(value, scratch), most = block_max(value, scratch);
  const int even = __syncthreads_count(threadIdx.x % 2 == 0);
  sum[threadIdx.x] = total;
  largest[threadIdx.x] = most;
  count[threadIdx.x] = even;
}

__global__ void shuffle_kernel(int *y) {
  const int lane = static_cast<int>(threadIdx.x);
  int *row = y + lane * 6;
  row[0] = __shfl_sync(kFullMask, lane * 10, 5);
  row[1] = __shfl_up_sync(kFullMask, lane, 3, 8);
  row[2] = __shfl_down_sync(kFullMask, lane, 2);
  row[3] = __shfl_xor_sync(kFullMask, lane, 16);
  row[4] = static_cast<int>(__ballot_sync(kFullMask, lane % 3 == 0));
  // Two halves of the warp on paths of their own.
  if (lane < 16) row[5] = __any_sync(0xffffu, lane == 3);
  else row[5] = __all_sync(0xffff0000u, lane == 20);
}

__global__ void copy_kernel(const float *x, float *y, bool wait) {
  WM_DYNAMIC_SHARED(float, tile);
  cp_async_16(tile + 4 * threadIdx.x, x + 4 * threadIdx.x, threadIdx.x != 3);
  cp_async_commit();
  if (wait) cp_async_wait<0>();
  __syncthreads();
  for (unsigned i = 0; i < 4; ++i) y[4 * threadIdx.x + i] = tile[4 * (31 - threadIdx.x) + i];
}

// One product of 16 x 16 by 16 x 8 through ldmatrix; b is stored by rows of k, so it is read transposed.
__global__ void mma_kernel(const bf16 *a, const bf16 *b, float *c) {
  __shared__ __align__(16) bf16 left[16 * 16], right[16 * 8];
  const int lane = static_cast<int>(threadIdx.x);
  for (int i = lane; i < 256; i += 32) left[i] = a[i];
  for (int i = lane; i < 128; i += 32) right[i] = b[i];
  __syncwarp();
  uint32_t fa[4], fb[2];
  float d[4] = {0, 0, 0, 0};
  ldmatrix_x4(fa, left + (lane % 16) * 16 + lane / 16 * 8);
  ldmatrix_x2_trans(fb, right + (lane % 16) * 8);
  mma_m16n8k16(d, fa, fb);
  for (int i = 0; i < 4; ++i) c[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = d[i];
}

__global__ void divergent_kernel(int *y) {
  if (threadIdx.x < 40) {
    __syncthreads();
    y[threadIdx.x] = 1;
  } else {
    __syncthreads();
    y[threadIdx.x] = 2;
  }
}

__global__ void early_return_kernel(int *y) {
  if (threadIdx.x == 7) return;
  __syncthreads();
  y[threadIdx.x] = 1;
}

__global__ void lone_shuffle_kernel(int *y) {
  if (threadIdx.x < 30) y[threadIdx.x] = __shfl_xor_sync(kFullMask, static_cast<int>(threadIdx.x), 1);
}

__global__ void foreign_mask_kernel(int *y) { y[threadIdx.x] = __any_sync(0xffu, threadIdx.x == 0); }

__global__ void unwritten_kernel(float *y) {
  WM_DYNAMIC_SHARED(float, row);
  if (threadIdx.x != 3) row[threadIdx.x] = 1;
  __syncthreads();
  y[threadIdx.x] = row[threadIdx.x];
}

__global__ void atomic_kernel(int *count, float *sum, unsigned *most) {
  atomicAdd(count, 2);
  atomicAdd(sum, 0.5f);
  atomicMax(most, threadIdx.x);
}

}  // namespace

WM_TEST(every_thread_of_every_block_runs) {
  const dim3 grid(3, 2, 2), block(5, 2, 3);
  std::vector<int> y(12 * 30, -1);
  WM_LAUNCH(index_kernel, grid, block, 0, kStream, y.data());
  for (int i = 0; i < 360; ++i) WM_CHECK(y[static_cast<size_t>(i)] == i / 30 * 1000 + i % 30);
  WM_LAUNCH(index_kernel, dim3(0), block, 0, kStream, nullptr);
}

WM_TEST(barriers_separate_writes_from_reads) {
  std::vector<float> x(192), y(192);
  for (size_t i = 0; i < 192; ++i) x[i] = static_cast<float>(i);
  WM_LAUNCH(reverse_kernel, dim3(2), dim3(96), 0, kStream, x.data(), y.data());
  for (size_t i = 0; i < 192; ++i) WM_CHECK(y[i] == x[i / 96 * 96 + 95 - i % 96]);
}

WM_TEST(reductions_reach_all_threads) {
  std::vector<float> sum(160), largest(160);
  std::vector<int> count(160);
  WM_LAUNCH(reduce_kernel, dim3(1), dim3(160), 0, kStream, sum.data(), largest.data(), count.data());
  for (size_t i = 0; i < 160; ++i) WM_CHECK(sum[i] == 159 * 80 - 1600 && largest[i] == 149 && count[i] == 80);
}

WM_TEST(shuffles_and_votes) {
  std::vector<int> y(32 * 6);
  WM_LAUNCH(shuffle_kernel, dim3(1), dim3(32), 0, kStream, y.data());
  for (int lane = 0; lane < 32; ++lane) {
    const int *row = y.data() + lane * 6;
    WM_CHECK(row[0] == 50);
    WM_CHECK(row[1] == (lane % 8 < 3 ? lane : lane - 3));
    WM_CHECK(row[2] == (lane < 30 ? lane + 2 : lane));
    WM_CHECK(row[3] == (lane ^ 16));
    WM_CHECK(static_cast<unsigned>(row[4]) == 0x49249249u);
    WM_CHECK(row[5] == (lane < 16 ? 1 : 0));
  }
}

WM_TEST(asynchronous_copies_arrive_at_the_wait) {
  std::vector<float> x(128), y(128);
  for (size_t i = 0; i < 128; ++i) x[i] = static_cast<float>(i + 1);
  WM_LAUNCH(copy_kernel, dim3(1), dim3(32), 512, kStream, x.data(), y.data(), true);
  for (size_t i = 0; i < 128; ++i) {
    const size_t from = (31 - i / 4) * 4 + i % 4;
    WM_CHECK(y[i] == (from / 4 == 3 ? 0.0f : x[from]));
  }
  WM_LAUNCH(copy_kernel, dim3(1), dim3(32), 512, kStream, x.data(), y.data(), false);
  WM_CHECK(std::isnan(y[0]));
}

WM_TEST(products_of_a_warp) {
  std::vector<bf16> a(256), b(128);
  std::vector<float> c(128);
  for (int i = 0; i < 256; ++i) a[static_cast<size_t>(i)] = to_bf16(static_cast<float>(i * 7 % 13 - 6));
  for (int i = 0; i < 128; ++i) b[static_cast<size_t>(i)] = to_bf16(static_cast<float>(i * 5 % 11 - 5));
  WM_LAUNCH(mma_kernel, dim3(1), dim3(32), 0, kStream, a.data(), b.data(), c.data());
  for (size_t row = 0; row < 16; ++row) {
    for (size_t column = 0; column < 8; ++column) {
      float sum = 0;
      for (size_t k = 0; k < 16; ++k) sum += to_float(a[row * 16 + k]) * to_float(b[k * 8 + column]);
      WM_CHECK(c[row * 8 + column] == sum);
    }
  }
}

WM_TEST(atomics_count_every_thread) {
  int count = 0;
  float sum = 0;
  unsigned most = 0;
  WM_LAUNCH(atomic_kernel, dim3(3), dim3(64), 0, kStream, &count, &sum, &most);
  WM_CHECK(count == 384 && sum == 96.0f && most == 63);
}

WM_TEST(faults_are_found_and_named) {
  std::vector<int> y(64);
  std::string text = failure_of([&] { WM_LAUNCH(divergent_kernel, dim3(1), dim3(64), 0, kStream, y.data()); });
  WM_CHECK(contains(text, "divergent_kernel") && contains(text, "thread 0 waits at") && contains(text, "thread 40 waits at"));
  text = failure_of([&] { WM_LAUNCH(early_return_kernel, dim3(1), dim3(64), 0, kStream, y.data()); });
  WM_CHECK(contains(text, "thread 7 has returned"));
  text = failure_of([&] { WM_LAUNCH(lone_shuffle_kernel, dim3(1), dim3(32), 0, kStream, y.data()); });
  WM_CHECK(contains(text, "waits in shfl.bfly") && contains(text, "thread 30 has returned"));
  text = failure_of([&] { WM_LAUNCH(foreign_mask_kernel, dim3(1), dim3(32), 0, kStream, y.data()); });
  WM_CHECK(contains(text, "waits in vote"));
  text = failure_of([&] { WM_LAUNCH(index_kernel, dim3(1), dim3(1025), 0, kStream, y.data()); });
  WM_CHECK(contains(text, "1025"));
  // The emulation goes on working after each of them.
  std::vector<float> z(32);
  WM_LAUNCH(unwritten_kernel, dim3(1), dim3(32), 128, kStream, z.data());
  WM_CHECK(std::isnan(z[3]) && z[4] == 1.0f);
}

WM_TEST(captured_launches_run_when_their_graph_does) {
  cudaStream_t stream = nullptr;
  WM_CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) == cudaSuccess);
  std::vector<int> y(6, -1), copied(6, -1);
  WM_CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
  WM_CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal) == cudaErrorIllegalState);
  WM_LAUNCH(index_kernel, dim3(2), dim3(3), 0, stream, y.data());
  WM_CHECK(cudaMemcpyAsync(copied.data(), y.data(), 6 * sizeof(int), cudaMemcpyDeviceToDevice, stream) == cudaSuccess);
  WM_CHECK(y[0] == -1 && copied[0] == -1);
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t exec = nullptr;
  WM_CHECK(cudaStreamEndCapture(stream, &graph) == cudaSuccess && graph != nullptr);
  WM_CHECK(cudaGraphInstantiate(&exec, graph, 0) == cudaSuccess && cudaGraphDestroy(graph) == cudaSuccess);
  for (int round = 0; round < 2; ++round) {
    std::fill(y.begin(), y.end(), -1);
    WM_CHECK(cudaGraphLaunch(exec, stream) == cudaSuccess);
    WM_CHECK(y == (std::vector<int>{0, 1, 2, 1000, 1001, 1002}) && copied == y);
  }
  WM_CHECK(cudaGraphExecDestroy(exec) == cudaSuccess && cudaStreamEndCapture(stream, &graph) == cudaErrorIllegalState);
  WM_CHECK(cudaStreamDestroy(stream) == cudaSuccess);
}

WM_TEST(what_a_capture_forbids_ends_it) {
  cudaStream_t stream = nullptr;
  cudaEvent_t outside = nullptr, inside = nullptr;
  cudaMemPool_t pool = nullptr;
  void *data = nullptr;
  WM_CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) == cudaSuccess);
  for (cudaEvent_t *event : {&outside, &inside}) WM_CHECK(cudaEventCreateWithFlags(event, cudaEventDisableTiming) == cudaSuccess);
  const cudaMemPoolProps properties{};
  WM_CHECK(cudaMemPoolCreate(&pool, &properties) == cudaSuccess && cudaEventRecord(outside, nullptr) == cudaSuccess);
  const auto spoils = [&](cudaError_t wanted, auto call) {
    WM_CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
    WM_CHECK(call() == wanted);
    std::vector<int> y(6);
    WM_CHECK(contains(failure_of([&] { WM_LAUNCH(index_kernel, dim3(2), dim3(3), 0, stream, y.data()); }), "index_kernel"));
    cudaGraph_t graph = nullptr;
    WM_CHECK(cudaStreamEndCapture(stream, &graph) == cudaErrorStreamCaptureInvalidated && graph == nullptr);
    WM_LAUNCH(index_kernel, dim3(2), dim3(3), 0, stream, y.data());
    WM_CHECK(y[5] == 1002);
  };
  spoils(cudaErrorStreamCaptureUnsupported, [&] { return cudaStreamSynchronize(stream); });
  spoils(cudaErrorStreamCaptureUnsupported, [&] { return cudaMallocFromPoolAsync(&data, 64, pool, stream); });
  spoils(cudaErrorStreamCaptureUnsupported, [&] { return cudaHostAlloc(&data, 64, cudaHostAllocDefault); });
  spoils(cudaErrorStreamCaptureUnsupported, [&] { return cudaEventSynchronize(outside); });
  spoils(cudaErrorStreamCaptureIsolation, [&] { return cudaStreamWaitEvent(stream, outside, 0); });
  WM_CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
  WM_CHECK(cudaEventRecord(inside, stream) == cudaSuccess && cudaStreamWaitEvent(stream, inside, 0) == cudaSuccess);
  WM_CHECK(cudaStreamWaitEvent(nullptr, inside, 0) == cudaErrorStreamCaptureIsolation);
  cudaGraph_t graph = nullptr;
  WM_CHECK(cudaStreamEndCapture(stream, &graph) == cudaSuccess && cudaEventSynchronize(inside) == cudaErrorCapturedEvent);
  WM_CHECK(cudaGraphDestroy(graph) == cudaSuccess && cudaMemPoolDestroy(pool) == cudaSuccess);
  for (cudaEvent_t event : {outside, inside}) WM_CHECK(cudaEventDestroy(event) == cudaSuccess);
  WM_CHECK(cudaStreamDestroy(stream) == cudaSuccess);
}
