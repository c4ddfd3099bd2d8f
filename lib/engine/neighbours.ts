/** What another native add-on needs: the C function table, its header, its CMake package. */
import { join } from 'node:path';
import { addon, packageRoot } from '../binding/addon.js';

/** Number of the C ABI (`WM_ABI` in wordmask.h). */
export const abiVersion = 1;

/** Folder of wordmask.h. */
export const includeDir: string = join(packageRoot, 'include');

/** Folder of the CMake package, for `find_package(wordmask CONFIG)`. */
export const cmakeDir: string = join(packageRoot, 'cmake');

/**
 * A type-tagged External that holds the `wm_api` table (include/wordmask.h). Another add-on checks the tag and reads the
 * pointer; there is no link step. Undefined where the native part is not built: the folders above are needed to build.
 */
export const capi: unknown = functionTable();

function functionTable(): unknown {
  try {
    return addon().capi();
  } catch {
    return undefined;
  }
}
