// Prints how many ops the static core offers: none would mean that the linker dropped the kernels.
#include <wordmask.h>

#include <cstdio>

int main() {
  const wm_api *api = wm_get_api(WM_ABI);
  if (api == nullptr || api->size < sizeof(wm_api)) return 1;
  std::printf("%d ops on %s\n", api->op_count(), api->cpu_tier());
  return api->op_count() > 0 ? 0 : 1;
}
