/** The emulated device of tests (test/simt), or the one that WORDMASK_TEST_DEVICE names: `cuda:0`. */
import * as binding from '#lib/binding/addon.js';

// What allows device `simt`.
process.env.WORDMASK_SIMT = '1';

/** Name of the device under test. */
export const deviceUnderTest = process.env.WORDMASK_TEST_DEVICE ?? 'simt:0';

/** Why there is no device to test, or false. */
export function noDevice(): string | false {
  const native = binding.addon();
  const kind = deviceUnderTest.split(':', 1)[0] as string;
  const { usable, reason, remedy } = native.backendReport(kind, binding.binaryFolder ?? '');
  if (usable) return false;
  if (kind === 'simt') return 'the emulated device is not built: npm run build:native -- --CDWORDMASK_SIMT=ON';
  return `${reason}; ${remedy}`;
}
