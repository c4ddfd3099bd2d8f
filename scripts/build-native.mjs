// Builds the native part: cmake-js drives CMakeLists.txt in build/cmake, binaries land in build/Release.
// Arguments go to the configure step, e.g. --CDWORDMASK_CUDA=OFF or --debug; without any, a tree that is configured
// already keeps its settings. (`cmake-js compile` is not used: it ignores options on an existing tree and answers a
// compile error with a rebuild from nothing.)
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, realpathSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const tree = join(root, 'build', 'cmake');
const cache = join(tree, 'CMakeCache.txt');
const options = process.argv.slice(2);
const cmakeJs = createRequire(join(root, 'package.json')).resolve('cmake-js/bin/cmake-js');

/** A tree that was configured in another place (a copied checkout) names paths that are not ours. */
function dropForeignTree() {
  if (!existsSync(cache)) return;
  const home = /^CMAKE_HOME_DIRECTORY:INTERNAL=(.*)$/m.exec(readFileSync(cache, 'utf8'))?.[1];
  if (home !== undefined && existsSync(home) && realpathSync(home) === realpathSync(root)) return;
  rmSync(tree, { recursive: true, force: true });
}

function cmake(command, args) {
  const { status, error } = spawnSync(process.execPath, [cmakeJs, command, '--out', 'build/cmake', ...args], {
    cwd: root,
    stdio: 'inherit',
  });
  if (error) throw error;
  if (status !== 0) process.exit(status ?? 1);
}

dropForeignTree();
if (options.length > 0 || !existsSync(cache)) {
  cmake('configure', [`--CDCMAKE_LIBRARY_OUTPUT_DIRECTORY=${join(root, 'build', 'Release')}`, ...options]);
}
cmake('build', ['--parallel', String(availableParallelism())]);
