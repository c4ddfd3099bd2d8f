// Packs what a machine with a GPU needs that has a driver and nothing of this package: Node, dist/, the compiled tests and benches,
// the binaries and the case files of the tensor core kernels, as one archive beside a script that unpacks and runs it
// (docs/cuda.md, "On a machine with a GPU"). Needs a built tree with the CUDA module, the case files, tar and xz.
//   node scripts/pack-gpu.mjs [--out .carry] [--module build/Release/libwordmask-cuda.so] [--limit MiB]
import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const { values } = parseArgs({
  options: {
    out: { type: 'string', default: '.carry' },
    module: { type: 'string', default: 'build/Release/libwordmask-cuda.so' },
    limit: { type: 'string', default: '48' },
  },
});
const release = 'build/Release';
const runner = 'build/cmake/run_device_cases';
/** Packages that calls on raw pixels load. */
const packages = ['zod', '@huggingface/tokenizers'];
/** Ops with a form of their own for wgmma and TMA, and what is built on their products. */
const cases =
  /^(attention|self_attention|linear|linear_packed|linear_bwd_input|linear_bwd_weight|matmul|cosine_logits)\.bin$/;
/** Only documentation and types: nothing runs them. */
const leftOut = /\.(d\.[cm]?ts|map|tsbuildinfo|md|cts|mts)$|(^|\/)src(\/|$)|LICENSE/;

const missing = [
  'dist',
  'build/ts/bench/gpu/main.js',
  'build/ts/test/gpu/main.js',
  `${release}/wordmask.node`,
  runner,
  'build/cases',
]
  .concat(values.module)
  .filter((path) => !existsSync(join(root, path)) && !existsSync(path));
if (missing.length > 0) {
  console.error(
    `not built: ${missing.join(', ')}. Run npm run build, npm run build:test and npm test with the emulated device first`,
  );
  process.exit(1);
}

const staging = mkdtempSync(join(tmpdir(), 'wordmask-gpu-'));
const place = (path) => {
  const to = join(staging, path);
  mkdirSync(dirname(to), { recursive: true });
  return to;
};
const take = (path, from = join(root, path)) =>
  cpSync(from, place(path), {
    recursive: true,
    dereference: true,
    filter: (file) => !leftOut.test(file.slice(from.length)),
  });

/** Without symbols, where binutils are installed. */
function takeBinary(path, from = join(root, path)) {
  take(path, from);
  spawnSync('strip', ['--strip-unneeded', place(path)]);
  chmodSync(place(path), 0o755);
}

/**
 * Records of a case file with a bf16 input, the tensor cores' (test/native/case_format.md; `test:gpu` has all samples). What is
 * expected is rounded to f32, far below every tolerance: it packs to half the size.
 */
function forDevice(bytes) {
  const bf16 = 1;
  const kept = [];
  let at = 0;
  const u32 = () => bytes.readUInt32LE((at += 4) - 4);
  const i32 = () => bytes.readInt32LE((at += 4) - 4);
  const u64 = () => Number(bytes.readBigUInt64LE((at += 8) - 8));
  // A length or count is read before the place moves on by it.
  const skip = (count, size) => {
    at += count * size;
  };
  while (at < bytes.length) {
    const begin = at;
    let narrow = false;
    at += 8;
    for (const size of [1, 1, 8]) skip(u32(), size);
    for (let inputs = u32(); inputs > 0; inputs--) {
      const ndim = i32();
      if (ndim < 0) continue;
      if (i32() === bf16) narrow = true;
      skip(2 * ndim + 1, 8);
      skip(u64(), 1);
    }
    for (let outputs = u32(); outputs > 0; outputs--) {
      const ndim = i32();
      at += 4;
      let numel = 1;
      for (let i = 0; i < ndim; i++) numel *= u64();
      if (bytes.readDoubleLE((at += 8) - 8) < 0) continue;
      for (; numel > 0; numel--, at += 8) bytes.writeDoubleLE(Math.fround(bytes.readDoubleLE(at)), at);
    }
    if (narrow) kept.push(bytes.subarray(begin, at));
  }
  return Buffer.concat(kept);
}

try {
  take('package.json');
  take('dist');
  take('assets');
  rmSync(place('assets/models/tiny-cls'), { recursive: true, force: true });
  for (const path of ['build/ts/bench', 'build/ts/test/gpu', 'build/ts/test/helpers', 'bench/gpu/torch_cases.py'])
    take(path);
  for (const name of packages) take(join('node_modules', name));
  takeBinary(`${release}/wordmask.node`);
  takeBinary(
    `${release}/libwordmask-cuda.so`,
    values.module.startsWith('/') ? values.module : join(root, values.module),
  );
  takeBinary(runner);
  takeBinary('bin/node', process.execPath);
  for (const file of readdirSync(join(root, 'build/cases')).filter((file) => cases.test(file)))
    writeFileSync(place(`build/cases/${file}`), forDevice(readFileSync(join(root, 'build/cases', file))));
  writeFileSync(place('build/commit'), execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: root }));

  const out = join(root, values.out);
  rmSync(join(out, 'wordmask.tar.xz'), { force: true });
  mkdirSync(out, { recursive: true });
  execFileSync('sh', ['-c', 'tar -cf - . | xz -9 > "$1"', 'sh', join(out, 'wordmask.tar.xz')], { cwd: staging });
  take('run-gpu.sh', join(root, 'scripts/run-gpu.sh'));
  cpSync(join(root, 'scripts/run-gpu.sh'), join(out, 'run.sh'));
  const mib = (path) => statSync(path).size / 2 ** 20;
  const total = readdirSync(out).reduce((sum, file) => sum + mib(join(out, file)), 0);
  console.log(
    `${values.out}: ${total.toFixed(1)} MiB (${readdirSync(out)
      .map((file) => basename(file))
      .join(', ')})`,
  );
  if (total > Number(values.limit)) {
    console.error(`larger than ${values.limit} MiB`);
    process.exitCode = 1;
  }
} finally {
  rmSync(staging, { recursive: true });
}
