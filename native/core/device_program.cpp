#include "native/core/device_program.h"

#include <algorithm>
#include <cstddef>

#include "native/core/device_executor.h"
#include "native/core/device_scratch.h"

namespace wm {

bool DeviceProgram::offered(const wm_backend &table) {
  return table.size >= offsetof(wm_backend, graph_free) + sizeof table.graph_free && table.workspace_peak != nullptr &&
         table.capture_begin != nullptr && table.capture_end != nullptr && table.graph_launch != nullptr &&
         table.graph_free != nullptr && table.copy_within != nullptr;
}

void DeviceProgram::allocate(const Program &program, size_t scratch) {
  std::vector<size_t> offsets;
  size_t bytes = program.block_bytes();
  for (const Program::Value &value : program.values()) {
    const bool own = value.kind == Program::Kind::input || value.kind == Program::Kind::output;
    offsets.push_back(own ? bytes : value.place);
    if (own) bytes += DeviceScratch::rounded(value.bytes);
  }
  block_ = queue_->allocate(bytes + std::max<size_t>(scratch, 1));
  auto *base = static_cast<uint8_t *>(block_);
  scratch_ = base + bytes;
  for (size_t i = 0; i < offsets.size(); ++i) {
    const std::shared_ptr<Storage> &constant = program.values()[i].constant;
    places_.push_back(constant ? static_cast<uint8_t *>(constant->data()) : base + offsets[i]);
  }
}

void DeviceProgram::drop() {
  if (graph_ != nullptr) queue_->table().graph_free(graph_);
  if (block_ != nullptr) queue_->release(block_, false);
  graph_ = nullptr;
  block_ = nullptr;
  places_.clear();
}

namespace {

std::vector<TensorView> views_of(const std::vector<Program::Operand> &operands, const std::vector<uint8_t *> &places) {
  std::vector<TensorView> result;
  for (const Program::Operand &operand : operands) {
    result.push_back(operand.view);
    if (operand.value >= 0) result.back().data = places[static_cast<size_t>(operand.value)] + operand.offset;
  }
  return result;
}

// What the values that a program reads may turn out to be.
std::shared_ptr<const Doubts> inherited(const std::vector<StorageView> &inputs, const Program &program) {
  std::shared_ptr<const Doubts> doubts;
  for (const StorageView &input : inputs) doubts = Doubts::join(doubts, input.storage->doubts());
  for (const Program::Value &value : program.values()) {
    if (value.constant) doubts = Doubts::join(doubts, value.constant->doubts());
  }
  return doubts;
}

void check_token(const CancelToken *token) {
  if (token != nullptr && token->cancelled()) throw Error(Status::aborted, "the call was aborted");
}

}  // namespace

void DeviceExecutor::execute_program(Command &command) {
  Program &program = *command.program;
  auto *state = static_cast<DeviceProgram *>(program.state.get());
  if (state != nullptr && state->graph() != nullptr && replay(command, *state)) return;
  const bool capture_now = state == nullptr && DeviceProgram::offered(queue_->table());
  const Needs needs = run_list(command, capture_now);
  if (capture_now) capture(command, needs);
}

// False where the graph cannot be launched, and never will be: the ops are then queued one by one.
bool DeviceExecutor::replay(Command &command, DeviceProgram &state) {
  const Program &program = *command.program;
  const wm_backend &table = queue_->table();
  wm_stream *stream = queue_->compute();
  command.op.name = program.name().c_str();
  for (const Program::Slot &slot : program.inputs()) {
    const Program::Value &value = program.values()[static_cast<size_t>(slot.value)];
    const void *from = resolve(command.inputs[value.place]).data;
    queue_->device().check(table.copy_within(stream, state.places()[static_cast<size_t>(slot.value)], from, value.bytes), "an input");
  }
  for (const StorageView &output : command.outputs) output.storage->allocate();
  const wm_status status = table.graph_launch(state.graph(), stream);
  const std::shared_ptr<const Doubts> doubts = Doubts::join(inherited(command.inputs, program), verdicts_.take());
  for (const StorageView &output : command.outputs) output.storage->set_doubts(doubts);
  if (status == WM_ERR_DEVICE_LOST) queue_->device().check(status, "a graph");
  if (status != WM_OK) {
    state.drop();
    return false;
  }
  for (const int32_t number : program.outputs()) {
    const Program::Value &value = program.values()[static_cast<size_t>(number)];
    void *to = command.outputs[value.place].storage->data();
    queue_->device().check(table.copy_within(stream, to, state.places()[static_cast<size_t>(number)], value.bytes), "an output");
  }
  settle_at_times();
  return true;
}

// Queues the ops one by one. With `measure`, returns what they take besides the program's values.
DeviceExecutor::Needs DeviceExecutor::run_list(Command &command, bool measure) {
  const Program &program = *command.program;
  const wm_backend &table = queue_->table();
  command.op.name = program.name().c_str();  // for a failure before the first op
  DeviceScratch memory(*queue_);
  auto *block = static_cast<uint8_t *>(memory.take(std::max<size_t>(program.block_bytes(), 1)));
  std::vector<uint8_t *> places;
  for (const Program::Value &value : program.values()) {
    uint8_t *at = block + value.place;
    if (value.kind == Program::Kind::constant) at = static_cast<uint8_t *>(value.constant->data());
    if (value.kind == Program::Kind::input) at = static_cast<uint8_t *>(resolve(command.inputs[value.place]).data);
    if (value.kind == Program::Kind::output) {
      command.outputs[value.place].storage->allocate();
      at = static_cast<uint8_t *>(command.outputs[value.place].storage->data());
    }
    places.push_back(at);
  }
  Needs needs;
  const auto peak = [&] { queue_->device().check(table.workspace_peak(queue_->compute(), &needs.workspace), "workspace"); };
  if (measure) peak();
  std::shared_ptr<const Doubts> doubts = inherited(command.inputs, program);
  for (const Program::Step &step : program.steps()) {
    command.op = step.op;
    check_token(command.token.get());
    DeviceScratch scratch(*queue_);
    const auto refusable =
        run_step(step.op, views_of(step.inputs, places), views_of(step.outputs, places), step.attrs, scratch);
    doubts = Doubts::join(doubts, refusable);
    needs.gathered = std::max(needs.gathered, scratch.taken());
  }
  if (measure) peak();
  for (const StorageView &output : command.outputs) output.storage->set_doubts(doubts);
  settle_at_times();
  return needs;
}

// What was queued before holds the results already, so a capture that fails changes nothing but the next replay.
void DeviceExecutor::capture(Command &command, const Needs &needs) {
  const std::shared_ptr<Program> &program = command.program;
  const wm_backend &table = queue_->table();
  auto state = std::make_unique<DeviceProgram>(queue_);
  wm_graph *graph = nullptr;
  try {
    wm_stream *stream = queue_->capture();
    state->allocate(*program, needs.gathered + needs.workspace);
    uint8_t *workspace = state->scratch() + needs.gathered;
    queue_->device().check(table.capture_begin(stream, workspace, needs.workspace), "a capture");
    bool whole = false;
    const auto end = [&] { return table.capture_end(stream, whole ? &graph : nullptr); };
    try {
      for (const Program::Step &step : program->steps()) {
        DeviceScratch scratch(*queue_, stream, state->scratch(), needs.gathered);
        run_step(step.op, views_of(step.inputs, state->places()), views_of(step.outputs, state->places()), step.attrs, scratch);
      }
      whole = true;
    } catch (...) {
      end();
      throw;
    }
    queue_->device().check(end(), "a capture");
    state->keep(graph);
  } catch (const Error &error) {
    note(Failure{error.status(), error.what()});
    state->drop();
  }
  program->state = std::move(state);
  has_state(program);
}

}  // namespace wm
