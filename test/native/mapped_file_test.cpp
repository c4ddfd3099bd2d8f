// Mapped files that change under the reader: zeros instead of a crash, and word of it.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "native/core/mapped_file.h"
#include "test/native/check.h"

using namespace wm;

namespace {

constexpr size_t kBytes = 1 << 20;

std::string temporary_file() {
  std::string path = (std::filesystem::temp_directory_path() / "wordmask-mapped-XXXXXX").string();
  const int fd = mkstemp(path.data());
  const std::vector<char> bytes(kBytes, 7);
  if (fd < 0 || write(fd, bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size())) std::abort();
  close(fd);
  return path;
}

uint64_t sum(const uint8_t *data, size_t begin, size_t end) {
  uint64_t total = 0;
  for (size_t i = begin; i < end; ++i) total += static_cast<const volatile uint8_t *>(data)[i];
  return total;
}

struct sigaction current_handler() {
  struct sigaction action = {};
  sigaction(SIGBUS, nullptr, &action);
  return action;
}

}  // namespace

WM_TEST(a_file_that_becomes_shorter) {
  const std::string path = temporary_file();
  const auto before = current_handler();
  {
    const auto file = MappedFile::open(path);
    const auto other = MappedFile::open(path);
    WM_CHECK(sum(file->data(), 0, kBytes) == 7 * kBytes);
    file->check_intact();
    WM_CHECK(truncate(path.c_str(), 5000) == 0);
    WM_CHECK(sum(file->data(), 0, 5000) == 7 * 5000);
    file->check_intact();
    // Several threads meet the same and other lost pages.
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&] { WM_CHECK(sum(file->data(), 8192, kBytes) == 0); });
    }
    for (std::thread &thread : threads) thread.join();
    WM_CHECK_THROWS(Status::io, file->check_intact());
    other->check_intact();
    const auto again = MappedFile::open(path);
    WM_CHECK(again->size() == 5000 && sum(again->data(), 0, 5000) == 7 * 5000);
    again->check_intact();
  }
  WM_CHECK(current_handler().sa_handler == before.sa_handler);
  unlink(path.c_str());
}

WM_TEST(many_files) {
  const std::string path = temporary_file();
  for (int round = 0; round < 3; ++round) {
    std::vector<std::shared_ptr<MappedFile>> files;
    for (int i = 0; i < 4096; ++i) files.push_back(MappedFile::open(path));
    WM_CHECK_THROWS(Status::io, MappedFile::open(path));
  }
  unlink(path.c_str());
}

namespace {

// Ends the process by SIGBUS, or with 9 where `handler` saw it.
int end_of_foreign_access(void (*handler)(int)) {
  const pid_t child = fork();
  if (child == 0) {
    const rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    signal(SIGBUS, handler);
    const std::string guarded_path = temporary_file(), path = temporary_file();
    const auto guarded = MappedFile::open(guarded_path);
    const int fd = open(path.c_str(), O_RDONLY);
    const auto *data = static_cast<const uint8_t *>(mmap(nullptr, kBytes, PROT_READ, MAP_PRIVATE, fd, 0));
    unlink(guarded_path.c_str());
    if (truncate(path.c_str(), 0) != 0) _exit(1);
    unlink(path.c_str());
    _exit(sum(data, 0, kBytes) == 0 ? 2 : 3);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

}  // namespace

WM_TEST(other_bus_errors_are_left_alone) {
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  WM_CHECK(end_of_foreign_access(SIG_DFL) == -SIGBUS);
#endif
  WM_CHECK(end_of_foreign_access([](int) { _exit(9); }) == 9);
}
