// What the emulation of Hopper's instructions (hopper.cpp) and the scheduler of fibers (emulator.cpp) ask of each other.
#pragma once

#include <functional>

namespace wm::simt {

// The running thread goes on once `ready` holds; `place` says what it waits for where it never does.
void wait_until(const char *place, const std::function<bool()> &ready);
// Number of the running thread in its block.
int current_thread();

// Forgets what an earlier block left. The other one throws where products or stores of this block were never waited for.
void begin_hopper_block();
void end_hopper_block(const char *kernel);

}  // namespace wm::simt
