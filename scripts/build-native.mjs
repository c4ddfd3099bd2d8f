// Builds the native part: cmake-js drives CMakeLists.txt into build/cmake, binaries land in build/Release.
// Extra arguments go to cmake-js, e.g. --CDWORDMASK_CUDA=OFF or --debug.
import { spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const require = createRequire(join(root, 'package.json'));
const cmakeJs = require.resolve('cmake-js/bin/cmake-js');

const result = spawnSync(
  process.execPath,
  [cmakeJs, 'compile', '--out', 'build/cmake', '--parallel', String(availableParallelism()),
    `--CDCMAKE_LIBRARY_OUTPUT_DIRECTORY=${join(root, 'build', 'Release')}`, ...process.argv.slice(2)],
  { cwd: root, stdio: 'inherit' },
);
process.exit(result.status ?? 1);
