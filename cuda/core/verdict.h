// Values that an op refuses and that lie on the device: its kernels meet them long after the launcher has returned. They leave
// what they saw in page-locked host memory, which the host reads once the stream has passed the op; a call whose values
// are in order costs no copy and no launch for it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "cuda/core/simt.h"
#include "native/core/status.h"

struct wm_context;

namespace wm::cuda {

constexpr int kVerdictWords = 6;

// Where kernels put what they refuse. Of several the lowest position is told, whatever the order in which they meet them:
// each word is a minimum, and the position stands in its upper half. A launch says `at` in one of the two forms alone.
struct Refusal {
  unsigned long long *words;  // [kVerdictWords], all bits set while nothing is refused

#if defined(__CUDACC__) || defined(WM_SIMT)
  __device__ __forceinline__ void at(int64_t position) const {
    atomicMin(words, static_cast<unsigned long long>(position));
  }

  // With up to kVerdictWords numbers that stood there.
  template <class... Values>
  __device__ __forceinline__ void at(int64_t position, int first, Values... more) const {
    static_assert(sizeof...(more) < kVerdictWords, "a word a number");
    const int values[] = {first, more...};
    const auto place = static_cast<unsigned long long>(position < 0xfffffffe ? position : 0xfffffffe) << 32;
    for (int i = 0; i < 1 + static_cast<int>(sizeof...(more)); ++i) {
      atomicMin(words + i, place | static_cast<unsigned>(values[i]));
    }
  }
#endif
};

// The lowest that was refused, as the kernel told it.
struct RefusedValue {
  int64_t position;
  int value[kVerdictWords];
};

// Text of the failure, without the op's name.
using DescribeRefusal = std::function<std::string(const RefusedValue &)>;

// Words of a device for verdicts that are open.
class VerdictWords {
 public:
  ~VerdictWords();
  // Throws Status::memory. The device must be the current one.
  unsigned long long *take();
  void give_back(unsigned long long *words);

 private:
  std::mutex mutex_;
  std::vector<void *> blocks_;
  std::vector<unsigned long long *> unused_;
};

}  // namespace wm::cuda

// What one launch may turn out to have refused: asked for once the stream has passed it (backend.h).
struct wm_verdict {
  explicit wm_verdict(wm::cuda::VerdictWords &words) : pool(words) {}
  ~wm_verdict();
  wm_verdict(const wm_verdict &) = delete;
  wm_verdict &operator=(const wm_verdict &) = delete;

  struct Part {
    const char *op;
    unsigned long long *words;
    bool with_values;
    wm::Status status;
    wm::cuda::DescribeRefusal describe;
  };
  wm::cuda::Refusal add(const char *op, bool with_values, wm::Status status, wm::cuda::DescribeRefusal describe);

  wm::cuda::VerdictWords &pool;
  std::vector<Part> parts;  // in the order in which the CPU's kernel checks
  std::shared_ptr<const wm_verdict> behind;  // of a replay: the graph's own, which its kernels write
};

namespace wm::cuda {

// What kernels of a graph refused stands in words that each replay writes. Queues the way out of them, behind a replay: the
// words of `to` take the values of `from`, which is clear again. Parts of both correspond.
void move_verdicts(cudaStream_t stream, const wm_verdict &from, const wm_verdict &to);

}  // namespace wm::cuda
