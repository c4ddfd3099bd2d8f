// Opens device modules. Each step that can fail says which it was, why, and what to do about it; a module that is not
// there leaves the CPU back end as it is.
#pragma once

#include <string>

#include "native/core/backend.h"

namespace wm {

struct BackendStatus {
  const wm_backend *table = nullptr;  // null: not usable, the texts say why
  std::string step;    // "environment", "driver", "module", "abi" or "device": the one that failed
  std::string reason;
  std::string remedy;
};

// Opens libwordmask-<name>.so in `directory` (that of the add-on) and asks it for its devices. The first answer for a
// name is kept for the life of the process, since modules are never closed: static state of theirs and of the driver
// would not survive it. Any thread may call.
BackendStatus load_backend(const char *name, const char *directory);

}  // namespace wm
