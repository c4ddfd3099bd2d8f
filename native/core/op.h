// The op table of the CPU back end and what a kernel receives.
//
// A kernel is a function void(OpCall &) that reads inputs, writes all elements of its outputs and throws
// wm::Error on a shape it cannot take (the card in lib/engine/ops has checked already; kernels re-check what
// memory safety needs). It registers itself under the card's name:
//
//   static void relu(OpCall &call) { ... }
//   WM_REGISTER_CPU_OP(relu, relu, kContiguous)
//
// Inputs are contiguous unless the op registers with kStrided; outputs always are. Output memory is not
// initialised. An optional input that was not given has present() == false.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "native/core/op_arguments.h"
#include "native/core/thread_pool.h"

namespace wm {

// Set by an abort; read between commands and between the chunks of a parallel region.
class CancelToken {
 public:
  void cancel() { cancelled_.store(true, std::memory_order_relaxed); }
  bool cancelled() const { return cancelled_.load(std::memory_order_relaxed); }

 private:
  std::atomic<bool> cancelled_{false};
};

class OpCall : public OpArguments {
 public:
  OpCall(const char *name, const TensorView *inputs, int num_inputs, const TensorView *outputs, int num_outputs,
         const double *attrs, int num_attrs, const CancelToken *cancel = nullptr)
      : OpArguments(name, inputs, num_inputs, outputs, num_outputs, attrs, num_attrs), cancel_(cancel) {}
  ~OpCall();

  // body(begin, end) over [0, n) in pieces of `grain` (the last one shorter). `grain` must come from the
  // problem, never from the thread count. Throws Status::aborted once the call's token is cancelled.
  void parallel(int64_t n, int64_t grain, const std::function<void(int64_t, int64_t)> &body) const;

  // Scratch memory, 64-byte aligned, uninitialised, returned to the arena when the call ends.
  template <class T>
  T *workspace(int64_t count) {
    return static_cast<T *>(workspace_bytes(static_cast<size_t>(count) * sizeof(T)));
  }
  void *workspace_bytes(size_t bytes);

  void check_cancelled() const;

 private:
  const CancelToken *cancel_;
  struct Block {
    void *data;
    size_t bytes;
  };
  std::vector<Block> blocks_;
};

using OpFunction = void (*)(OpCall &);

enum OpFlags : uint32_t {
  kContiguous = 0,
  kStrided = 1u << 0,   // takes inputs of any stride (last dimension included)
  kInPlace = 1u << 1,   // output 0 is the memory of input 0
  kInPlaceAll = 1u << 2,  // every output is the memory of the input of its number
};

struct OpEntry {
  const char *name;
  OpFunction function;
  uint32_t flags;
};

// Filled by static registrations of the kernel files; read-only once main code runs.
const OpEntry *find_cpu_op(const char *name);
std::vector<const OpEntry *> list_cpu_ops();
void register_cpu_op(const OpEntry *entry);

struct CpuOpRegistration {
  explicit CpuOpRegistration(const OpEntry *entry) { register_cpu_op(entry); }
};

#define WM_REGISTER_CPU_OP(op_name, function, flags)                                \
  static const ::wm::OpEntry wm_entry_##op_name = {#op_name, function, flags};      \
  static const ::wm::CpuOpRegistration wm_registration_##op_name(&wm_entry_##op_name);

// Calls body with a value of the C++ type of a floating dtype: f32 -> float, f64 -> double, bf16, f16.
template <class F>
void dispatch_float(const OpCall &call, DType dtype, F &&body) {
  switch (dtype) {
    case DType::f32: return body(float{});
    case DType::f64: return body(double{});
    case DType::bf16: return body(bf16{});
    case DType::f16: return body(f16{});
    default: call.reject("needs a floating dtype, got %s", dtype_name(dtype));
  }
}

}  // namespace wm
