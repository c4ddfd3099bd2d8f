// The op tables and OpCall, as kernels see them.
#include <cstring>
#include <set>
#include <string>
#include <vector>

#include "native/core/arena.h"
#include "native/core/host_op.h"
#include "native/core/op.h"
#include "test/native/check.h"

using namespace wm;

namespace {

void first_row(OpCall &call) { call.out(0).as<float>()[0] = static_cast<float>(call.attr(0)); }

bool snake_case(const char *name) {
  for (const char *c = name; *c != '\0'; ++c) {
    if (!((*c >= 'a' && *c <= 'z') || (*c >= '0' && *c <= '9') || *c == '_')) return false;
  }
  return *name >= 'a' && *name <= 'z';
}

template <class Entry>
bool names_are_unique(const std::vector<const Entry *> &entries) {
  std::set<std::string> names;
  for (const Entry *entry : entries) {
    if (!names.insert(entry->name).second) {
      std::fprintf(stderr, "registered twice: %s\n", entry->name);
      return false;
    }
  }
  return true;
}

struct Fixture {
  std::vector<float> data = std::vector<float>(6, 0.0f);
  TensorView views[2];
  double attrs[1] = {3.0};
  CancelToken token;

  Fixture() {
    views[0].data = data.data();
    views[0].ndim = 2;
    views[0].shape[0] = 2;
    views[0].shape[1] = 3;
    views[0].stride[0] = 3;
    views[0].stride[1] = 1;
  }
};

}  // namespace

WM_REGISTER_CPU_OP(test_first_row, first_row, kContiguous)

WM_TEST(tables_are_sound) {
  WM_CHECK(names_are_unique(list_cpu_ops()));
  WM_CHECK(names_are_unique(list_host_ops()));
  for (const OpEntry *entry : list_cpu_ops()) WM_CHECK(snake_case(entry->name) && entry->function != nullptr);
  for (const HostEntry *entry : list_host_ops()) WM_CHECK(snake_case(entry->name) && entry->function != nullptr);
}

WM_TEST(an_op_is_found_by_name) {
  const OpEntry *entry = find_cpu_op("test_first_row");
  WM_CHECK(entry != nullptr && entry->function == first_row);
  WM_CHECK(find_cpu_op("no_such_op") == nullptr);
  WM_CHECK(find_host_op("no_such_op") == nullptr);
  Fixture fixture;
  OpCall call("test_first_row", fixture.views, 1, fixture.views, 1, fixture.attrs, 1);
  entry->function(call);
  WM_CHECK(fixture.data[0] == 3.0f);
}

WM_TEST(missing_parts_are_refused_by_name) {
  Fixture fixture;
  OpCall call("test_op", fixture.views, 2, fixture.views, 1, fixture.attrs, 1);
  WM_CHECK(call.has(0) && !call.has(1) && !call.has(2));
  WM_CHECK_THROWS(Status::option, call.in(1));
  WM_CHECK_THROWS(Status::option, call.in(-1));
  WM_CHECK_THROWS(Status::option, call.out(1));
  WM_CHECK_THROWS(Status::option, call.attr(1));
  std::string text;
  try {
    call.attr(7);
  } catch (const Error &error) {
    text = error.what();
  }
  WM_CHECK(text == "test_op: attribute 7 is missing");
}

WM_TEST(parallel_covers_the_range) {
  Fixture fixture;
  OpCall call("test_op", fixture.views, 1, fixture.views, 1, fixture.attrs, 1);
  for (int64_t n : {0, 1, 5, 64, 1000}) {
    for (int64_t grain : {-1, 1, 7, 5000}) {
      std::vector<int> seen(static_cast<size_t>(n), 0);
      call.parallel(n, grain, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) ++seen[static_cast<size_t>(i)];
      });
      bool once = true;
      for (int count : seen) once = once && count == 1;
      WM_CHECK(once);
    }
  }
}

WM_TEST(an_aborted_call_stops) {
  Fixture fixture;
  OpCall call("test_op", fixture.views, 1, fixture.views, 1, fixture.attrs, 1, &fixture.token);
  call.check_cancelled();
  fixture.token.cancel();
  WM_CHECK_THROWS(Status::aborted, call.parallel(100, 1, [](int64_t, int64_t) {}));
}

WM_TEST(workspace_returns_to_the_arena) {
  const uint64_t live = Arena::instance().stats().live_bytes;
  {
    Fixture fixture;
    OpCall call("test_op", fixture.views, 1, fixture.views, 1, fixture.attrs, 1);
    float *scratch = call.workspace<float>(1000);
    std::memset(scratch, 0, 4000);
    WM_CHECK(Arena::instance().stats().live_bytes >= live + 4000);
  }
  WM_CHECK(Arena::instance().stats().live_bytes == live);
}

WM_TEST(contiguity_ignores_strides_of_single_rows) {
  TensorView view;
  view.ndim = 3;
  const int64_t shape[] = {2, 1, 4}, stride[] = {4, 999, 1};
  std::memcpy(view.shape, shape, sizeof shape);
  std::memcpy(view.stride, stride, sizeof stride);
  WM_CHECK(view.contiguous() && view.numel() == 8 && view.dim(-1) == 4 && view.bytes() == 32);
  view.stride[0] = 5;
  WM_CHECK(!view.contiguous());
  view.ndim = 0;
  WM_CHECK(view.contiguous() && view.numel() == 1 && view.present());
}
