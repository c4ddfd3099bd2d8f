#include "native/api/programs.h"

#include <algorithm>

#include "native/api/handles.h"

namespace wm {

namespace {

std::vector<StorageView> views_of(const std::shared_ptr<Executor> &queue, const wm_view *views, int32_t count) {
  std::vector<StorageView> result;
  for (int32_t i = 0; i < count; ++i) result.push_back(to_internal(queue, views[i]));
  return result;
}

ProgramRecorder &recorder_of(wm_program *program) {
  if (!program->recorder) fail(Status::usage, "the program was recorded already");
  return *program->recorder;
}

bool same_shape(const TensorView &a, const TensorView &b) {
  return a.dtype == b.dtype && a.ndim == b.ndim && std::equal(a.shape, a.shape + a.ndim, b.shape);
}

void check_inputs(const Program &program, const std::vector<StorageView> &inputs) {
  if (inputs.size() != program.inputs().size()) {
    fail(Status::usage, "%s: %zu inputs, the program was recorded with %zu", program.name().c_str(), inputs.size(),
         program.inputs().size());
  }
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i].storage && same_shape(inputs[i].view, program.inputs()[i].view) && inputs[i].view.contiguous()) continue;
    fail(Status::usage, "%s: input %zu must be contiguous and of the shape and dtype of the recording", program.name().c_str(), i);
  }
}

}  // namespace

wm_status program_begin(wm_executor *executor, const char *name, const wm_view *inputs, int32_t num_inputs, wm_program **out) {
  return guarded([&] {
    auto program = std::make_unique<wm_program>();
    program->queue = executor->queue;
    program->recorder = std::make_unique<ProgramRecorder>(name, views_of(executor->queue, inputs, num_inputs));
    *out = program.release();
  });
}

wm_status program_op(wm_program *program, const char *op, const wm_view *inputs, int32_t num_inputs, const double *attrs,
                     int32_t num_attrs, const wm_spec *outputs, int32_t num_outputs, wm_token *token, wm_storage **out) {
  return guarded([&] {
    ProgramRecorder &recorder = recorder_of(program);
    PreparedOp prepared = prepare_op(program->queue, op, inputs, num_inputs, attrs, num_attrs, outputs, num_outputs);
    recorder.note(prepared.op, prepared.inputs, prepared.attrs, prepared.outputs);
    push_op(program->queue, std::move(prepared), token, out);
  });
}

wm_status program_end(wm_program *program, const wm_view *outputs, int32_t num_outputs) {
  return guarded([&] {
    const std::vector<StorageView> views = views_of(program->queue, outputs, num_outputs);
    program->program = recorder_of(program).finish(views, program->outputs);
    program->recorder.reset();
  });
}

wm_status program_run(wm_program *program, const wm_view *inputs, int32_t num_inputs, wm_token *token, wm_storage **out) {
  return guarded([&] {
    if (!program->program) fail(Status::usage, "the program is being recorded");
    const Program &recorded = *program->program;
    std::vector<StorageView> in = views_of(program->queue, inputs, num_inputs), made;
    check_inputs(recorded, in);
    for (const int32_t value : recorded.outputs()) {
      StorageView output;
      output.storage = program->queue->make_storage(recorded.values()[static_cast<size_t>(value)].bytes);
      made.push_back(output);
    }
    for (size_t i = 0; i < program->outputs.size(); ++i) {
      out[i] = new_handle(program->queue, made[static_cast<size_t>(program->outputs[i])].storage);
    }
    program->queue->push_program(program->program, std::move(in), std::move(made), token != nullptr ? token->token : nullptr);
  });
}

uint64_t program_bytes(const wm_program *program) { return program->program ? program->program->block_bytes() : 0; }

void program_free(wm_program *program) {
  if (program == nullptr) return;
  if (program->program) program->queue->push_release(std::move(program->program));
  delete program;
}

}  // namespace wm
