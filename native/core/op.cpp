#include "native/core/op.h"

#include <cstring>

#include "native/core/arena.h"
#include "native/core/host_op.h"

namespace wm {

namespace {

template <class Entry>
class Registry {
 public:
  void add(const Entry *entry) { entries_.push_back(entry); }
  const Entry *find(const char *name) const {
    for (const Entry *entry : entries_) {
      if (std::strcmp(entry->name, name) == 0) return entry;
    }
    return nullptr;
  }
  const std::vector<const Entry *> &all() const { return entries_; }

 private:
  std::vector<const Entry *> entries_;
};

// Function-local so that registrations from other files' static initialisers find it built.
Registry<OpEntry> &op_registry() {
  static auto *registry = new Registry<OpEntry>();
  return *registry;
}

Registry<HostEntry> &host_registry() {
  static auto *registry = new Registry<HostEntry>();
  return *registry;
}

}  // namespace

const OpEntry *find_cpu_op(const char *name) { return op_registry().find(name); }
std::vector<const OpEntry *> list_cpu_ops() { return op_registry().all(); }
void register_cpu_op(const OpEntry *entry) { op_registry().add(entry); }

const HostEntry *find_host_op(const char *name) { return host_registry().find(name); }
std::vector<const HostEntry *> list_host_ops() { return host_registry().all(); }
void register_host_op(const HostEntry *entry) { host_registry().add(entry); }

OpCall::~OpCall() {
  for (const Block &block : blocks_) Arena::instance().release(block.data, block.bytes);
}

void OpCall::parallel(int64_t n, int64_t grain, const std::function<void(int64_t, int64_t)> &body) const {
  if (n <= 0) return;
  if (grain < 1) grain = 1;
  const int64_t chunks = (n + grain - 1) / grain;
  ThreadPool::instance().run(chunks, [&](int64_t chunk) {
    check_cancelled();
    const int64_t begin = chunk * grain;
    body(begin, begin + grain < n ? begin + grain : n);
  });
}

void *OpCall::workspace_bytes(size_t bytes) {
  void *data = Arena::instance().allocate(bytes);
  blocks_.push_back({data, bytes});
  return data;
}

void OpCall::check_cancelled() const {
  if (cancel_ != nullptr && cancel_->cancelled()) throw Error(Status::aborted, "the call was aborted");
}

}  // namespace wm
