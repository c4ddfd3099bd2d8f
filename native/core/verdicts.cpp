#include "native/core/verdicts.h"

#include <cstddef>

namespace wm {

void Doubts::add(const std::shared_ptr<const Doubt> &doubt) {
  if (doubt->settled() && doubt->failure() == nullptr) return;
  if (list_.empty() || list_.back() != doubt) list_.push_back(doubt);
}

std::shared_ptr<const Doubts> Doubts::join(const std::shared_ptr<const Doubts> &a, const std::shared_ptr<const Doubts> &b) {
  if (a == b || b == nullptr) return a;
  if (a == nullptr) return b;
  auto both = std::make_shared<Doubts>();
  size_t i = 0, j = 0;
  while (i < a->list_.size() || j < b->list_.size()) {
    const bool first = j == b->list_.size() || (i < a->list_.size() && a->list_[i]->number() <= b->list_[j]->number());
    both->add(first ? a->list_[i++] : b->list_[j++]);
  }
  return both->list_.empty() ? nullptr : both;
}

std::shared_ptr<const Doubts> Doubts::of(std::shared_ptr<const Doubt> doubt) {
  auto one = std::make_shared<Doubts>();
  one->list_.push_back(std::move(doubt));
  return one;
}

std::shared_ptr<const Failure> Doubts::failure() const {
  for (const std::shared_ptr<const Doubt> &doubt : list_) {
    if (std::shared_ptr<const Failure> failure = doubt->failure()) return failure;
  }
  return nullptr;
}

static bool offers_verdicts(const wm_backend &table) {
  return table.size >= offsetof(wm_backend, verdict_free) + sizeof table.verdict_free && table.verdict_take != nullptr &&
         table.verdict_read != nullptr && table.verdict_free != nullptr;
}

Verdicts::Verdicts(DeviceQueue &queue) : queue_(queue), offered_(offers_verdicts(queue.table())) {}

Verdicts::~Verdicts() {
  // Kernels nobody waited for may still write theirs.
  if (!open_.empty()) queue_.table().stream_synchronise(queue_.compute());
  for (const Open &open : open_) queue_.table().verdict_free(open.verdict);
}

std::shared_ptr<const Doubts> Verdicts::take() {
  if (!offered_) return nullptr;
  wm_verdict *verdict = queue_.table().verdict_take(queue_.compute());
  if (verdict == nullptr) return nullptr;
  const auto doubt = std::make_shared<Doubt>(++last_);
  const std::lock_guard<std::mutex> lock(mutex_);
  open_.push_back({verdict, doubt});
  return Doubts::of(doubt);
}

void Verdicts::settle(uint64_t mark) {
  const std::lock_guard<std::mutex> lock(mutex_);
  while (!open_.empty() && open_.front().doubt->number() <= mark) {
    const Open open = std::move(open_.front());
    open_.pop_front();
    std::shared_ptr<const Failure> failure;
    try {
      const wm_status status = queue_.table().verdict_read(open.verdict);
      if (status != WM_OK) {
        const char *text = queue_.table().last_error != nullptr ? queue_.table().last_error() : "";
        failure = std::make_shared<Failure>(Failure{static_cast<Status>(status), text});
      }
    } catch (const std::bad_alloc &) {
      static const auto short_of_memory = std::make_shared<const Failure>(Failure{Status::memory, "out of host memory"});
      failure = short_of_memory;
    }
    queue_.table().verdict_free(open.verdict);
    open.doubt->settle(std::move(failure));
  }
}

size_t Verdicts::open() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return open_.size();
}

}  // namespace wm
