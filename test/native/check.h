// What the native tests are written with: WM_TEST registers a test, WM_CHECK* count checks and go on after a failure.
// check_main.cpp runs them all and ends with "N passed, N failed".
#pragma once

#include <cstdio>
#include <functional>
#include <vector>

#include "native/core/status.h"

namespace wm::test {

struct Test {
  const char *name;
  void (*body)();
};

std::vector<Test> &tests();
void count_check(bool ok, const char *text, const char *file, int line);

struct Registration {
  Registration(const char *name, void (*body)()) { tests().push_back({name, body}); }
};

// True when `call` throws wm::Error of this status.
inline bool throws(Status status, const std::function<void()> &call) {
  try {
    call();
  } catch (const Error &error) {
    return error.status() == status;
  }
  return false;
}

}  // namespace wm::test

#define WM_TEST(name)                                                            \
  static void name();                                                            \
  static const ::wm::test::Registration wm_registration_of_##name(#name, &name); \
  static void name()

#define WM_CHECK(...) ::wm::test::count_check(static_cast<bool>(__VA_ARGS__), #__VA_ARGS__, __FILE__, __LINE__)
#define WM_CHECK_THROWS(status, ...) \
  ::wm::test::count_check(::wm::test::throws(status, [&] { __VA_ARGS__; }), "throws: " #__VA_ARGS__, __FILE__, __LINE__)
