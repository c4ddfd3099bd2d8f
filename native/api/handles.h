// What the opaque handles of wordmask.h are.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "include/wordmask.h"
#include "native/core/cpu_executor.h"
#include "native/core/executor.h"
#include "native/core/host_op.h"
#include "native/core/program.h"

struct wm_executor {
  std::shared_ptr<wm::Executor> queue;
};

struct wm_storage {
  std::atomic<int32_t> references{1};
  std::shared_ptr<wm::Storage> storage;
  std::shared_ptr<wm::Executor> queue;  // where the release goes
};

struct wm_token {
  std::shared_ptr<wm::CancelToken> token;
};

struct wm_mapped {
  std::shared_ptr<wm::MappedFile> file;
};

struct wm_program {
  std::shared_ptr<wm::Executor> queue;
  std::unique_ptr<wm::ProgramRecorder> recorder;  // until program_end
  std::shared_ptr<wm::Program> program;           // from then on
  std::vector<int32_t> outputs;                   // numbers in Program::outputs()
};

struct wm_host_result {
  wm::HostCall call;
};

namespace wm {

// Elements a view may have: far above any machine, low enough that sizes in bytes fit 64 bits.
constexpr int64_t kMaxElements = int64_t{1} << 46;

// Leaves the text for last_error() of this thread and returns the status.
wm_status set_last_error(Status status, const char *text);
const char *last_error_text();

// Checks a view against its storage and the executor that shall read it.
StorageView to_internal(const std::shared_ptr<Executor> &queue, const wm_view &view);

wm_storage *new_handle(const std::shared_ptr<Executor> &queue, std::shared_ptr<Storage> storage);
// A view of contiguous memory; throws Status::memory where it leaves any machine.
TensorView contiguous_view(const wm_spec &spec);

// An op that is ready to be queued.
struct PreparedOp {
  OpHandle op;
  std::vector<StorageView> inputs, outputs;
  std::vector<double> attrs;
};
PreparedOp prepare_op(const std::shared_ptr<Executor> &queue, const char *name, const wm_view *inputs, int32_t num_inputs,
                      const double *attrs, int32_t num_attrs, const wm_spec *outputs, int32_t num_outputs);
// Queues it and hands its outputs out.
void push_op(const std::shared_ptr<Executor> &queue, PreparedOp prepared, wm_token *token, wm_storage **out);

Completion to_completion(wm_done done, void *user);

// Runs body and turns whatever it throws into a status.
template <class F>
wm_status guarded(F &&body) {
  try {
    body();
    return WM_OK;
  } catch (const Error &error) {
    return set_last_error(error.status(), error.what());
  } catch (const std::bad_alloc &) {
    return set_last_error(Status::memory, "out of host memory");
  } catch (const std::exception &error) {
    return set_last_error(Status::internal, error.what());
  }
}

}  // namespace wm
