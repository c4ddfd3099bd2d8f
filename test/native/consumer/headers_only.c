#include <wordmask.h>

uint32_t wanted_abi(void);
uint32_t wanted_abi(void) { return WM_ABI; }
