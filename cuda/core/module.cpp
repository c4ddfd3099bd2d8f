// The module's only visible symbol.
#include "cuda/core/context.h"

namespace {

constexpr wm_backend make_table() {
  wm_backend table{};
  table.abi = WM_BACKEND_ABI;
  table.size = sizeof(wm_backend);
  table.name = "cuda";
  table.last_error = wm::cuda::last_error;
  table.device_count = wm::cuda::device_count;
  table.device_info = wm::cuda::device_info;
  table.context_create = wm::cuda::context_create;
  table.context_free = wm::cuda::context_free;
  table.self_test = wm::cuda::self_test;
  table.stream_create = wm::cuda::stream_create;
  table.stream_free = wm::cuda::stream_free;
  table.stream_synchronise = wm::cuda::stream_synchronise;
  table.event_create = wm::cuda::event_create;
  table.event_free = wm::cuda::event_free;
  table.event_record = wm::cuda::event_record;
  table.stream_wait = wm::cuda::stream_wait;
  table.event_done = wm::cuda::event_done;
  table.event_synchronise = wm::cuda::event_synchronise;
  table.memory_alloc = wm::cuda::memory_alloc;
  table.memory_release = wm::cuda::memory_release;
  table.memory_trim = wm::cuda::memory_trim;
  table.memory_stats = wm::cuda::memory_stats;
  table.memory_reset_peak = wm::cuda::memory_reset_peak;
  table.host_alloc = wm::cuda::host_alloc;
  table.host_free = wm::cuda::host_free;
  table.copy_in = wm::cuda::copy_in;
  table.copy_out = wm::cuda::copy_out;
  table.copy_within = wm::cuda::copy_within;
  table.op_find = wm::cuda::op_find;
  table.op_launch = wm::cuda::op_launch;
  table.memory_borrow = wm::cuda::memory_borrow;
  table.verdict_take = wm::cuda::verdict_take;
  table.verdict_read = wm::cuda::verdict_read;
  table.verdict_free = wm::cuda::verdict_free;
  table.workspace_peak = wm::cuda::workspace_peak;
  table.capture_begin = wm::cuda::capture_begin;
  table.capture_end = wm::cuda::capture_end;
  table.graph_launch = wm::cuda::graph_launch;
  table.graph_free = wm::cuda::graph_free;
  return table;
}

constexpr wm_backend kTable = make_table();

}  // namespace

extern "C" __attribute__((visibility("default"))) const wm_backend *wm_backend_entry(uint32_t abi);

const wm_backend *wm_backend_entry(uint32_t abi) { return abi == WM_BACKEND_ABI ? &kTable : nullptr; }
