// Makes a checkout ready to run, doing only what is missing or stale. Needs Node alone.
//   node scripts/ensure.mjs          packages, native build, library (for the demo)
//   node scripts/ensure.mjs tests    the same and the compiled tests and benches
// A fresh tree gets the CPU part alone (compiling every CUDA kernel would take longer than the tests); a tree that was
// configured before keeps its setting. `npm run build` is the full build.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const withTests = process.argv.includes('tests');

/** Runs a command in the checkout; the process ends with its status when it fails, after saying what may help. */
function step(title, command, args, hint = '') {
  console.error(`[wordmask] ${title}`);
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: ['ignore', 2, 2] });
  if (status === 0) return;
  console.error(`[wordmask] failed: ${title}${error ? ` (${error.message})` : ''}`);
  if (hint !== '') console.error(`[wordmask] ${hint}`);
  process.exit(status || 1);
}

function files(folder, accept) {
  const path = join(root, folder);
  if (!existsSync(path)) return [];
  return readdirSync(path, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && accept(entry.name))
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
    .sort();
}

/**
 * True when node_modules holds what the lock file asks for: npm leaves a list of what it installed there.
 * Optional packages may be absent (other platforms); nothing else may be absent or of another version.
 */
function packagesInstalled() {
  const list = join(root, 'node_modules', '.package-lock.json');
  if (!existsSync(list)) return false;
  const wanted = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')).packages;
  const installed = JSON.parse(readFileSync(list, 'utf8')).packages;
  return Object.entries(wanted).every(([path, entry]) => {
    if (path === '') return true;
    const found = installed[path];
    return found === undefined
      ? entry.optional === true || entry.devOptional === true
      : found.version === entry.version;
  });
}

function ensurePackages() {
  const modules = join(root, 'node_modules');
  // A linked node_modules belongs to another checkout: `npm ci` would empty that one.
  if (lstatSync(modules, { throwIfNoEntry: false })?.isSymbolicLink()) return;
  if (packagesInstalled()) return;
  const npm = process.env.npm_execpath;
  const args = ['ci', '--no-audit', '--no-fund'];
  if (npm?.endsWith('npm-cli.js')) step('installing packages (npm ci)', process.execPath, [npm, ...args]);
  else step('installing packages (npm ci)', process.platform === 'win32' ? 'npm.cmd' : 'npm', args);
}

function ensureNative() {
  // Tests run the kernels of the device module too, on the emulated device.
  const folders = ['native', 'include', 'cuda', 'cmake', ...(withTests ? ['test/simt'] : [])];
  const products = ['wordmask.node', ...(withTests ? ['libwordmask-simt.so'] : [])];
  const inputs = folders.flatMap((folder) => files(folder, () => true));
  inputs.push(...['CMakeLists.txt', 'scripts/build-native.mjs'].map((name) => join(root, name)));
  const built = products.every((name) => existsSync(join(root, 'build', 'Release', name)));
  whenStale(withTests ? 'native-tests' : 'native', inputs, built, () => {
    const args = [join(root, 'scripts', 'build-native.mjs'), '--fresh', '--CDWORDMASK_CUDA=OFF'];
    if (withTests) args.splice(1, 0, '--CDWORDMASK_SIMT=ON');
    const hint = 'a build needs a C++17 compiler, CMake 3.24 or newer, and make or Ninja';
    step('building the native part', process.execPath, args, hint);
  });
}

/** Compiles one TypeScript project; outputs whose source is gone go first, so that a deleted test cannot run on. */
function ensureTypeScript(name, project, folders, outputs) {
  const inputs = folders.flatMap((folder) => files(folder, (file) => file.endsWith('.ts')));
  if (inputs.length === 0) return;
  inputs.push(
    join(root, 'tsconfig.json'),
    join(root, project),
    join(root, 'node_modules', 'typescript', 'package.json'),
  );
  const built = Object.values(outputs).some((output) => existsSync(join(root, output)));
  whenStale(name, inputs, built, () => {
    for (const [folder, output] of Object.entries(outputs)) prune(folder, output);
    step(`compiling ${name}`, process.execPath, [
      join(root, 'node_modules', 'typescript', 'bin', 'tsc'),
      '-p',
      project,
    ]);
  });
}

function prune(folder, output) {
  for (const file of files(output, (name) => /\.(js|d\.ts)(\.map)?$/.test(name))) {
    const source = join(root, folder, relative(join(root, output), file)).replace(/\.(js|d\.ts)(\.map)?$/, '.ts');
    if (existsSync(source)) continue;
    rmSync(file);
    // tsc must not believe that its outputs are all there.
    rmSync(join(root, 'dist', 'lib.tsbuildinfo'), { force: true });
    rmSync(join(root, 'build', 'ts', 'test.tsbuildinfo'), { force: true });
  }
}

/** Calls `make` when the inputs (paths, sizes, times) are not those of its last success. */
function whenStale(name, inputs, built, make) {
  const stamp = join(root, 'build', 'stamps', name);
  const hash = createHash('sha256');
  for (const file of inputs) {
    const { size, mtimeMs } = statSync(file);
    hash.update(`${relative(root, file)}\0${size}\0${mtimeMs}\n`);
  }
  const state = hash.digest('hex');
  if (built && existsSync(stamp) && readFileSync(stamp, 'utf8') === state) return;
  make();
  mkdirSync(dirname(stamp), { recursive: true });
  writeFileSync(stamp, state);
}

ensurePackages();
ensureNative();
ensureTypeScript('library', 'tsconfig.json', ['lib'], { lib: 'dist' });
if (withTests) {
  // The tests are checked against the library's declarations, so a changed library makes them stale as well.
  ensureTypeScript('tests', 'tsconfig.test.json', ['lib', 'test', 'bench'], {
    test: 'build/ts/test',
    bench: 'build/ts/bench',
  });
}
