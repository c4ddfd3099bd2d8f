// Registers, static shared memory and spills of every CUDA kernel, by the toolkit's own account (`ptxas -v`): one line a
// kernel and architecture in bench/results/cuda-resources.jsonl. No GPU is needed. Fails where a tensor core kernel (its
// name or its file's holds mma or sm90) spills: such a kernel is built around the registers it has.
//
//   node scripts/cuda-resources.mjs             all files; writes the record
//   node scripts/cuda-resources.mjs FILE ...    these alone; prints their lines
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const record = join('bench', 'results', 'cuda-resources.jsonl');
const nvcc = process.env.CUDACXX ?? 'nvcc';
const architectures = ['sm_80', 'sm_90a'];

function stop(message) {
  console.error(`cuda-resources: ${message}`);
  process.exit(1);
}

function capture(command, args, input) {
  const { status, error, stdout } = spawnSync(command, args, {
    cwd: root,
    input,
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  });
  return error || status !== 0 ? undefined : stdout;
}

/** Every kernel file, as paths from the root with forward slashes. */
function kernelFiles() {
  return readdirSync(join(root, 'cuda'), { withFileTypes: true })
    .filter((group) => group.isDirectory())
    .flatMap(({ name: group }) =>
      readdirSync(join(root, 'cuda', group))
        .filter((name) => name.endsWith('.cu'))
        .map((name) => `cuda/${group}/${name}`),
    );
}

/** What the compiler says while it makes device code of one file for one architecture. */
function compile(file, arch, target) {
  const args = ['-std=c++17', `-arch=${arch}`, '-cubin', '-Xptxas', '-v', '-Xcudafe', '--diag_suppress=186'];
  return new Promise((done) => {
    const child = spawn(nvcc, [...args, '-I.', '-Iinclude', file, '-o', target], { cwd: root });
    let text = '';
    child.stdout.on('data', (chunk) => {
      text += chunk;
    });
    child.stderr.on('data', (chunk) => {
      text += chunk;
    });
    child.on('error', (error) => stop(`cannot run ${nvcc}: ${error.message}; set CUDACXX`));
    child.on('close', (status) => {
      if (status !== 0) stop(`${file} does not compile for ${arch}:\n${text}`);
      done(text);
    });
  });
}

/** Reads "Function properties for f", its spills and its registers, which follow each other line by line. */
function parse(text, file, arch) {
  const rows = [];
  let row;
  for (const line of text.split('\n')) {
    const name = /Function properties for (\S+)/.exec(line)?.[1];
    if (name) {
      row = { file, kernel: name, arch, registers: 0, shared: 0, stack: 0, spillStores: 0, spillLoads: 0 };
      rows.push(row);
    }
    const stack = /(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads/.exec(line);
    if (stack && row) [row.stack, row.spillStores, row.spillLoads] = stack.slice(1).map(Number);
    const registers = /Used (\d+) registers/.exec(line);
    if (registers && row) {
      row.registers = Number(registers[1]);
      row.shared = Number(/(\d+) bytes smem/.exec(line)?.[1] ?? 0);
    }
    if (/warning/i.test(line)) console.error(`${arch}: ${line}`);
  }
  return rows.filter(({ registers }) => registers > 0); // without: a function that a kernel calls
}

/** Mangled names carry a hash of the file; readable ones are the same everywhere. */
function readable(rows) {
  const input = rows.map(({ kernel }) => `${kernel}\n`).join('');
  const text = capture('c++filt', [], input) ?? capture('cu++filt', [], input);
  if (text === undefined) stop('needs c++filt (binutils) or cu++filt (CUDA toolkit) for the names of kernels');
  text
    .trimEnd()
    .split('\n')
    .forEach((name, i) => {
      rows[i].kernel = name
        .replace(/\(anonymous namespace\)::|<unnamed>::/g, '')
        .replace(/\bwm::(cuda::)?/g, '')
        .replace(/^void /, '')
        .replace(/\([^()]*(\([^()]*\)[^()]*)*\)$/, '');
    });
}

async function inParallel(jobs, workers) {
  const results = [];
  let next = 0;
  const work = async () => {
    while (next < jobs.length) {
      const k = next++;
      results[k] = await jobs[k](k);
    }
  };
  await Promise.all(Array.from({ length: workers }, work));
  return results.flat();
}

const order = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
const chosen = process.argv.slice(2).map((file) => relative(root, resolve(file)).split('\\').join('/'));
const version = /release (\S+),/.exec(capture(nvcc, ['--version']) ?? '')?.[1];
if (!version) stop(`cannot run ${nvcc} --version; set CUDACXX to a CUDA compiler`);
const folder = mkdtempSync(join(tmpdir(), 'cuda-resources-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));

const jobs = (chosen.length > 0 ? chosen : kernelFiles()).flatMap((file) =>
  architectures
    .filter((arch) => arch === 'sm_90a' || !file.endsWith('_sm90.cu'))
    .map((arch) => async (k) => parse(await compile(file, arch, join(folder, `${k}.cubin`)), file, arch)),
);
const rows = await inParallel(jobs, Math.min(availableParallelism(), jobs.length));
readable(rows);
rows.sort((a, b) => order(a.file, b.file) || order(a.kernel, b.kernel) || order(a.arch, b.arch));
const lines = rows.map((row) => `${JSON.stringify(row)}\n`).join('');
if (chosen.length > 0) process.stdout.write(lines);
else writeFileSync(join(root, record), `${JSON.stringify({ name: 'toolkit', nvcc: version })}\n${lines}`);

const spilling = rows.filter(({ spillStores, spillLoads }) => spillStores + spillLoads > 0);
for (const { kernel, file, arch, spillStores, spillLoads } of spilling)
  console.error(`${file}: ${kernel} (${arch}) spills ${spillStores} bytes, reads back ${spillLoads}`);
console.error(
  `${rows.length} kernels of ${new Set(rows.map(({ file }) => file)).size} files, ${spilling.length} with spills`,
);
if (spilling.some(({ kernel, file }) => /mma|sm90/.test(`${kernel} ${file}`))) process.exitCode = 1;
