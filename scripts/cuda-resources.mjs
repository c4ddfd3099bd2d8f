// Registers, static shared memory and spills of every CUDA kernel, by the toolkit's own account (`ptxas -v`): one line a
// kernel and architecture in bench/results/cuda-resources.jsonl. No GPU is needed. Fails where a tensor core kernel (its
// name or its file's holds mma or sm90) spills: such a kernel is built around the registers it has.
//
//   node scripts/cuda-resources.mjs             all files
//   node scripts/cuda-resources.mjs FILE ...    these alone; the record keeps its other lines
//
// A line says from which sources it was made (a digest of the file, the headers of ours that it includes, and the
// toolkit's version): what has not changed is not compiled again.
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const record = join(root, 'bench', 'results', 'cuda-resources.jsonl');
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

/** A digest of a file and of all it includes from the repository. */
function digest(file) {
  const seen = new Set([file]);
  const hash = createHash('sha256').update(`${version}\0`);
  for (const path of seen) {
    const text = readFileSync(join(root, path), 'utf8');
    hash.update(`${path}\0${text}\0`);
    for (const [, name] of text.matchAll(/^#include "(.*)"$/gm)) if (existsSync(join(root, name))) seen.add(name);
  }
  return hash.digest('hex').slice(0, 12);
}

/** Rows of the record as it is. */
function readRecord() {
  if (!existsSync(record)) return [];
  const lines = readFileSync(record, 'utf8').trim().split('\n');
  return lines.map((line) => JSON.parse(line)).filter(({ kernel }) => kernel !== undefined);
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
function parse(text, file, arch, source) {
  const rows = [];
  let row;
  for (const line of text.split('\n')) {
    const name = /Function properties for (\S+)/.exec(line)?.[1];
    if (name) {
      row = { file, kernel: name, arch, registers: 0, shared: 0, stack: 0, spillStores: 0, spillLoads: 0, source };
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
  let next = 0;
  const work = async () => {
    while (next < jobs.length) {
      const k = next++;
      await jobs[k](k);
    }
  };
  await Promise.all(Array.from({ length: workers }, work));
}

const order = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
const chosen = process.argv.slice(2).map((file) => relative(root, resolve(file)).split('\\').join('/'));
const version = /release (\S+),/.exec(capture(nvcc, ['--version']) ?? '')?.[1];
if (!version) stop(`cannot run ${nvcc} --version; set CUDACXX to a CUDA compiler`);
const folder = mkdtempSync(join(tmpdir(), 'cuda-resources-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));

const files = kernelFiles();
const wanted = chosen.length > 0 ? chosen : files;
const known = readRecord();
const rows = [];
const jobs = [];

/** Written after every file: a run that is stopped goes on from there. */
function save() {
  rows.sort((a, b) => order(a.file, b.file) || order(a.kernel, b.kernel) || order(a.arch, b.arch));
  const lines = rows.map((row) => `${JSON.stringify(row)}\n`).join('');
  writeFileSync(record, `${JSON.stringify({ name: 'toolkit', nvcc: version })}\n${lines}`);
}

for (const file of files) {
  const source = digest(file);
  for (const arch of file.endsWith('_sm90.cu') ? ['sm_90a'] : architectures) {
    const old = known.filter((row) => row.file === file && row.arch === arch);
    if (old.some((row) => row.source === source) || !wanted.includes(file)) {
      rows.push(...old);
      continue;
    }
    jobs.push(async (k) => {
      const made = parse(await compile(file, arch, join(folder, `${k}.cubin`)), file, arch, source);
      if (made.length > 0) readable(made);
      rows.push(...made);
      save();
    });
  }
}
await inParallel(jobs, Math.min(availableParallelism(), jobs.length));
save();

const spilling = rows.filter(({ spillStores, spillLoads }) => spillStores + spillLoads > 0);
for (const { kernel, file, arch, spillStores, spillLoads } of spilling)
  console.error(`${file}: ${kernel} (${arch}) spills ${spillStores} bytes, reads back ${spillLoads}`);
console.error(
  `${rows.length} kernels of ${new Set(rows.map(({ file }) => file)).size} files, ${spilling.length} with spills`,
);
if (spilling.some(({ kernel, file }) => /mma|sm90/.test(`${kernel} ${file}`))) process.exitCode = 1;
