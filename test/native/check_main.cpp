// Runs every registered test, or those whose name contains the first argument.
#include <atomic>
#include <cstring>
#include <exception>

#include "test/native/check.h"

namespace wm::test {

namespace {
std::atomic<int> passed{0}, failed{0};
constexpr int kShownFailures = 20;  // a broken loop of checks must not fill the log
}  // namespace

std::vector<Test> &tests() {
  static std::vector<Test> all;
  return all;
}

void count_check(bool ok, const char *text, const char *file, int line) {
  if (ok) {
    ++passed;
  } else if (++failed <= kShownFailures) {
    std::fprintf(stderr, "%s:%d: failed: %s\n", file, line, text);
  }
}

}  // namespace wm::test

int main(int argc, char **argv) {
  using namespace wm::test;
  for (const Test &test : tests()) {
    if (argc > 1 && std::strstr(test.name, argv[1]) == nullptr) continue;
    try {
      test.body();
    } catch (const std::exception &error) {
      ++failed;
      std::fprintf(stderr, "%s: unexpected exception: %s\n", test.name, error.what());
    }
  }
  std::printf("%d passed, %d failed\n", passed.load(), failed.load());
  return failed.load() == 0 && passed.load() > 0 ? 0 : 1;
}
