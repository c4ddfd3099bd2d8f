// Driver for compilers without libFuzzer: replays the corpus, then mutates it at random (no coverage feedback) until
// the time is over. Takes libFuzzer's arguments: [-max_total_time=SECONDS] [-seed=N] FOLDER_OR_FILE ...
// The input at hand is kept in crash-input.bin when the process dies.
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include <unistd.h>

extern "C" int LLVMFuzzerInitialize(int *argc, char ***argv);
extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

namespace {

using Input = std::vector<uint8_t>;
constexpr size_t kLongest = 4096;

const Input *current = nullptr;

void keep_current() {
  if (current == nullptr) return;
  if (FILE *file = std::fopen("crash-input.bin", "wb")) {
    std::fwrite(current->data(), 1, current->size(), file);
    std::fclose(file);
  }
  std::fprintf(stderr, "the input is in crash-input.bin (%zu bytes)\n", current->size());
}

void on_signal(int) {
  keep_current();
  _exit(1);
}

void run(const Input &input) {
  current = &input;
  LLVMFuzzerTestOneInput(input.data(), input.size());
  current = nullptr;
}

std::vector<Input> read_corpus(const std::vector<std::string> &paths) {
  std::vector<Input> corpus;
  const auto add = [&](const std::filesystem::path &path) {
    std::ifstream stream(path, std::ios::binary);
    corpus.emplace_back((std::istreambuf_iterator<char>(stream)), std::istreambuf_iterator<char>());
  };
  for (const std::string &path : paths) {
    if (!std::filesystem::is_directory(path)) add(path);
    else
      for (const auto &entry : std::filesystem::directory_iterator(path)) add(entry.path());
  }
  return corpus;
}

class Mutator {
 public:
  explicit Mutator(uint32_t seed) : random_(seed) {}

  Input mutate(const std::vector<Input> &corpus) {
    Input input = corpus.empty() ? Input() : corpus[below(corpus.size())];
    for (size_t steps = 1 + below(6); steps > 0; --steps) change(input, corpus);
    if (input.size() > kLongest) input.resize(kLongest);
    return input;
  }

 private:
  size_t below(size_t n) { return std::uniform_int_distribution<size_t>(0, n - 1)(random_); }
  uint8_t byte() { return static_cast<uint8_t>(below(256)); }

  void change(Input &input, const std::vector<Input> &corpus) {
    const size_t at = below(input.size() + 1);
    const auto place = input.begin() + static_cast<std::ptrdiff_t>(at);
    switch (below(5)) {
      case 0: input.insert(place, byte()); return;
      case 1: input.insert(place, 1 + below(16), below(2) == 0 ? uint8_t{0} : uint8_t{0xff}); return;
      case 2: input.resize(at); return;
      case 3: {
        if (corpus.empty()) return;
        const Input &other = corpus[below(corpus.size())];
        input.resize(at);
        input.insert(input.end(), other.begin() + static_cast<std::ptrdiff_t>(below(other.size() + 1)), other.end());
        return;
      }
      default:
        if (at < input.size()) input[at] = below(2) == 0 ? byte() : static_cast<uint8_t>(input[at] ^ (1u << below(8)));
    }
  }

  std::mt19937 random_;
};

}  // namespace

int main(int argc, char **argv) {
  double seconds = 60;
  uint32_t seed = 1;
  std::vector<std::string> paths;
  for (int i = 1; i < argc; ++i) {
    if (std::strncmp(argv[i], "-max_total_time=", 16) == 0) seconds = std::atof(argv[i] + 16);
    else if (std::strncmp(argv[i], "-seed=", 6) == 0) seed = static_cast<uint32_t>(std::atoi(argv[i] + 6));
    else if (argv[i][0] != '-') paths.emplace_back(argv[i]);
  }
  LLVMFuzzerInitialize(&argc, &argv);
  std::atexit(keep_current);  // a sanitizer that ends the process with exit()
  for (int signal : {SIGSEGV, SIGABRT, SIGFPE, SIGBUS, SIGILL}) std::signal(signal, on_signal);

  const std::vector<Input> corpus = read_corpus(paths);
  for (const Input &input : corpus) run(input);
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  Mutator mutator(seed);
  long runs = 0;
  for (; std::chrono::steady_clock::now() < end; ++runs) {
    const Input input = mutator.mutate(corpus);
    run(input);
  }
  std::printf("replayed %zu inputs, ran %ld mutations\n", corpus.size(), runs);
  return 0;
}
