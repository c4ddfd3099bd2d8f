#include "cuda/core/verdict.h"

#include <cstring>

#include "cuda/core/context.h"

namespace wm::cuda {

namespace {

constexpr int kSlots = 256;  // a block of page-locked memory

}  // namespace

VerdictWords::~VerdictWords() {
  for (void *block : blocks_) cudaFreeHost(block);
}

unsigned long long *VerdictWords::take() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (unused_.empty()) {
    blocks_.reserve(blocks_.size() + 1);
    unused_.reserve((blocks_.size() + 1) * kSlots);  // so that giving back never allocates
    void *block = nullptr;
    const cudaError_t error = cudaHostAlloc(&block, kSlots * kVerdictWords * sizeof(unsigned long long), cudaHostAllocDefault);
    if (error != cudaSuccess) throw_error(error, "cudaHostAlloc");
    blocks_.push_back(block);
    for (int i = kSlots; i > 0; --i) unused_.push_back(static_cast<unsigned long long *>(block) + (i - 1) * kVerdictWords);
  }
  unsigned long long *words = unused_.back();
  unused_.pop_back();
  std::memset(words, 0xff, kVerdictWords * sizeof *words);
  return words;
}

void VerdictWords::give_back(unsigned long long *words) {
  const std::lock_guard<std::mutex> lock(mutex_);
  unused_.push_back(words);
}

// Asked for after a wait for the stream, which makes the device's writes visible.
wm_status verdict_read(wm_verdict *verdict) {
  for (const wm_verdict::Part &part : verdict->parts) {
    unsigned long long words[kVerdictWords];
    for (int i = 0; i < kVerdictWords; ++i) words[i] = __atomic_load_n(part.words + i, __ATOMIC_RELAXED);
    if (words[0] == ~0ull) continue;
    RefusedValue seen{static_cast<int64_t>(part.with_values ? words[0] >> 32 : words[0]), {}};
    for (int i = 0; i < kVerdictWords; ++i) seen.value[i] = static_cast<int>(static_cast<unsigned>(words[i]));
    try {
      return fail(static_cast<wm_status>(part.status), "%s: %s", part.op, part.describe(seen).c_str());
    } catch (const std::exception &error) {
      return fail(WM_ERR_INTERNAL, "%s: %s", part.op, error.what());
    }
  }
  return WM_OK;
}

void verdict_free(wm_verdict *verdict) { delete verdict; }

wm_verdict *verdict_take(wm_stream *stream) { return stream->verdict.release(); }

}  // namespace wm::cuda

wm_verdict::~wm_verdict() {
  for (const Part &part : parts) pool.give_back(part.words);
}

wm::cuda::Refusal wm_verdict::add(const char *op, bool with_values, wm::Status status, wm::cuda::DescribeRefusal describe) {
  parts.reserve(parts.size() + 1);
  parts.push_back({op, pool.take(), with_values, status, std::move(describe)});
  return {parts.back().words};
}
