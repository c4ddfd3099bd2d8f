#include "native/core/program.h"

#include <algorithm>
#include <numeric>

namespace wm {

namespace {

// What device memory and vector loads are aligned to.
constexpr size_t kPlaceAlignment = 256;

size_t rounded(size_t bytes) { return (std::max<size_t>(bytes, 1) + kPlaceAlignment - 1) / kPlaceAlignment * kPlaceAlignment; }

// Bytes from the view's first element to behind its last; strides may be negative.
struct Reach {
  int64_t low = 0, high = 0;
};

Reach reach_of(const TensorView &view) {
  const auto element = static_cast<int64_t>(dtype_size(view.dtype));
  if (view.numel() == 0) return {};
  Reach reach{0, element};
  for (int i = 0; i < view.ndim; ++i) {
    const int64_t span = (view.shape[i] - 1) * view.stride[i] * element;
    (span < 0 ? reach.low : reach.high) += span;
  }
  return reach;
}

// First and last step that touches a value.
struct Lifetime {
  size_t first = SIZE_MAX, last = 0;
};

}  // namespace

ProgramRecorder::ProgramRecorder(std::string name, const std::vector<StorageView> &inputs) {
  program_->name_ = std::move(name);
  for (const StorageView &input : inputs) {
    if (!input.storage || !input.view.contiguous()) {
      fail(Status::usage, "%s: input %zu of a program must be a contiguous tensor", program_->name_.c_str(), bases_.size());
    }
    if (known_.count(input.storage) != 0) {
      fail(Status::usage, "%s: inputs of a program must not share memory", program_->name_.c_str());
    }
    const int32_t value = add(input.storage, Program::Kind::input, input.view.bytes(), bases_.size());
    program_->inputs_.push_back({value, input.view});
    bases_.push_back(input.offset * static_cast<int64_t>(dtype_size(input.view.dtype)));
  }
}

int32_t ProgramRecorder::add(const std::shared_ptr<Storage> &storage, Program::Kind kind, size_t bytes, size_t place) {
  const auto value = static_cast<int32_t>(program_->values_.size());
  program_->values_.push_back({kind, bytes, place, kind == Program::Kind::constant ? storage : nullptr});
  known_[storage] = value;
  return value;
}

Program::Operand ProgramRecorder::operand(const StorageView &source) {
  Program::Operand result;
  if (!source.storage) return result;
  const auto found = known_.find(source.storage);
  const int32_t number =
      found != known_.end() ? found->second : add(source.storage, Program::Kind::constant, source.storage->bytes(), 0);
  const Program::Value &value = program_->values_[static_cast<size_t>(number)];
  result.value = number;
  result.view = source.view;
  result.offset = source.offset * static_cast<int64_t>(dtype_size(source.view.dtype));
  if (value.kind == Program::Kind::input) {
    result.offset -= bases_[value.place];
    const Reach reach = reach_of(source.view);
    if (result.offset + reach.low < 0 || result.offset + reach.high > static_cast<int64_t>(value.bytes)) {
      fail(Status::usage, "%s: an op reads beyond input %zu of the program", program_->name_.c_str(), value.place);
    }
  }
  return result;
}

void ProgramRecorder::note(const OpHandle &op, const std::vector<StorageView> &inputs, const std::vector<double> &attrs,
                           const std::vector<StorageView> &outputs) {
  if ((op.flags & (kInPlace | kInPlaceAll)) != 0) {
    fail(Status::usage, "%s: works in place, which a program cannot repeat", op.name);
  }
  Program::Step step;
  step.op = op;
  step.attrs = attrs;
  for (const StorageView &input : inputs) step.inputs.push_back(operand(input));
  for (const StorageView &output : outputs) {
    add(output.storage, Program::Kind::inner, output.storage->bytes(), 0);
    step.outputs.push_back(operand(output));
  }
  program_->steps_.push_back(std::move(step));
}

std::shared_ptr<Program> ProgramRecorder::finish(const std::vector<StorageView> &outputs, std::vector<int32_t> &which) {
  which.clear();
  for (const StorageView &output : outputs) {
    const auto found = output.storage ? known_.find(output.storage) : known_.end();
    Program::Value *value = found == known_.end() ? nullptr : &program_->values_[static_cast<size_t>(found->second)];
    if (value == nullptr || (value->kind != Program::Kind::inner && value->kind != Program::Kind::output)) {
      fail(Status::usage, "%s: output %zu was not made by an op of the program", program_->name_.c_str(), which.size());
    }
    if (value->kind == Program::Kind::inner) {
      value->kind = Program::Kind::output;
      value->place = program_->outputs_.size();
      program_->outputs_.push_back(found->second);
    }
    which.push_back(static_cast<int32_t>(value->place));
  }
  lay_out();
  return std::move(program_);
}

// Largest first, each at the lowest place that is free for its whole lifetime.
void ProgramRecorder::lay_out() {
  auto &values = program_->values_;
  std::vector<Lifetime> lives(values.size());
  for (size_t i = 0; i < program_->steps_.size(); ++i) {
    const Program::Step &step = program_->steps_[i];
    for (const auto *operands : {&step.inputs, &step.outputs}) {
      for (const Program::Operand &operand : *operands) {
        if (operand.value < 0) continue;
        Lifetime &life = lives[static_cast<size_t>(operand.value)];
        life.first = std::min(life.first, i);
        life.last = std::max(life.last, i);
      }
    }
  }
  std::vector<size_t> order;
  for (size_t v = 0; v < values.size(); ++v) {
    if (values[v].kind == Program::Kind::inner) order.push_back(v);
  }
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return values[a].bytes > values[b].bytes; });
  std::vector<size_t> placed;  // by place
  for (const size_t v : order) {
    size_t at = 0;
    for (const size_t other : placed) {
      const bool apart = lives[other].last < lives[v].first || lives[v].last < lives[other].first;
      if (apart) continue;
      if (at + rounded(values[v].bytes) <= values[other].place) break;
      at = std::max(at, values[other].place + rounded(values[other].bytes));
    }
    values[v].place = at;
    program_->block_bytes_ = std::max(program_->block_bytes_, at + rounded(values[v].bytes));
    const auto behind = std::upper_bound(placed.begin(), placed.end(), v,
                                         [&](size_t a, size_t b) { return values[a].place < values[b].place; });
    placed.insert(behind, v);
  }
}

}  // namespace wm
