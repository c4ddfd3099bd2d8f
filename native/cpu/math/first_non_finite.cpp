// Where the first NaN or infinity stands: out[0] = its row-major index or -1, out[1] = 0 none, 1 NaN, 2 +inf, 3 -inf.
// A value is not finite exactly when its exponent bits are all ones, so the scan reads bit patterns: one AND and one
// compare an element, which the compiler vectorises, and the speed is that of memory. Used to check weights at load.
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>

#include "native/core/float_bits.h"
#include "native/core/op.h"

namespace wm {
namespace {

constexpr int64_t kGrain = 1 << 17;  // elements a task
constexpr int64_t kBlock = 1024;     // elements scanned without a branch

template <class T>
int64_t scan(const typename FloatBits<T>::Word *words, int64_t begin, int64_t end) {
  using Word = typename FloatBits<T>::Word;
  for (int64_t start = begin; start < end; start += kBlock) {
    const int64_t stop = std::min(end, start + kBlock);
    Word bad = 0;
    for (int64_t i = start; i < stop; ++i) {
      bad = static_cast<Word>(bad | static_cast<Word>((words[i] & FloatBits<T>::exponent) == FloatBits<T>::exponent));
    }
    if (bad == 0) continue;
    for (int64_t i = start; i < stop; ++i) {
      if ((words[i] & FloatBits<T>::exponent) == FloatBits<T>::exponent) return i;
    }
  }
  return -1;
}

template <class T>
void find(const OpCall &call, const TensorView &x, double *out) {
  using Word = typename FloatBits<T>::Word;
  static_assert(sizeof(T) == sizeof(Word), "the storage type is the bit pattern");
  const auto *words = static_cast<const Word *>(x.data);
  const int64_t count = x.numel();
  std::atomic<int64_t> first{count};  // the minimum does not depend on which task comes first
  call.parallel(count, kGrain, [&](int64_t begin, int64_t end) {
    if (begin > first.load(std::memory_order_relaxed)) return;
    const int64_t at = scan<T>(words, begin, end);
    int64_t seen = first.load(std::memory_order_relaxed);
    while (at >= 0 && at < seen && !first.compare_exchange_weak(seen, at, std::memory_order_relaxed)) {
    }
  });
  const int64_t at = first.load();
  out[0] = at < count ? static_cast<double>(at) : -1.0;
  out[1] = 0.0;
  if (at >= count) return;
  const Word word = words[at];
  const bool negative = (word >> (8 * sizeof(Word) - 1)) != 0;
  out[1] = (word & FloatBits<T>::fraction) != 0 ? 1.0 : negative ? 3.0 : 2.0;
}

void first_non_finite(OpCall &call) {
  const TensorView &x = call.in(0);
  double *out = call.out(0).as<double>();
  dispatch_float(call, x.dtype, [&](auto zero) { find<decltype(zero)>(call, x, out); });
}

}  // namespace

WM_REGISTER_CPU_OP(first_non_finite, first_non_finite, kContiguous)

}  // namespace wm
