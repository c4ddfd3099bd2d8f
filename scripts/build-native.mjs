// Builds the native part: cmake-js drives CMakeLists.txt in build/cmake, binaries land in build/Release.
// Arguments go to the configure step, e.g. --CDWORDMASK_CUDA=OFF or --debug; without any, a tree that is configured
// already keeps its settings. Those behind --fresh count only where there is no such tree. (`cmake-js compile` is not used: it ignores options on an existing tree and answers a
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
const [options, freshOptions] = splitAt(process.argv.slice(2), '--fresh');
const cmakeJs = createRequire(join(root, 'package.json')).resolve('cmake-js/bin/cmake-js');

function splitAt(args, mark) {
  const at = args.indexOf(mark);
  return at < 0 ? [args, []] : [args.slice(0, at), args.slice(at + 1)];
}

/**
 * Drops a tree that cannot be built: one whose configure step failed (its cache may name a compiler that is not there)
 * or that belongs to another place (a copied checkout). True when a tree is left.
 */
function keepConfiguredTree() {
  // Written at the end of a successful configure step.
  if (existsSync(join(tree, 'CMakeFiles', 'TargetDirectories.txt'))) {
    const home = /^CMAKE_HOME_DIRECTORY:INTERNAL=(.*)$/m.exec(readFileSync(cache, 'utf8'))?.[1];
    if (home !== undefined && existsSync(home) && realpathSync(home) === realpathSync(root)) return true;
  }
  rmSync(tree, { recursive: true, force: true });
  return false;
}

function cmake(command, args) {
  const { status, error } = spawnSync(process.execPath, [cmakeJs, command, '--out', 'build/cmake', ...args], {
    cwd: root,
    stdio: 'inherit',
  });
  if (error) throw error;
  if (status !== 0) process.exit(status ?? 1);
}

const fresh = !keepConfiguredTree();
if (fresh || options.length > 0) {
  const all = [...(fresh ? freshOptions : []), ...options];
  cmake('configure', [`--CDCMAKE_LIBRARY_OUTPUT_DIRECTORY=${join(root, 'build', 'Release')}`, ...all]);
}
cmake('build', ['--parallel', String(availableParallelism())]);
