// Runs the compiled tap files and ends with one line: N passed, N failed[, N skipped].
//   node scripts/run-tests.mjs [--quick] [--verbose] [--jobs=N] [name ...]
// A name selects the files whose path contains it. --quick leaves out files that run alone and sets WORDMASK_QUICK=1.
//
// Each file is a process of its own (`node file`): tap files run stand-alone, so no tap runner, plugin build or loader
// comes between. Counted are test points without points of their own; a file that crashes, hangs, breaks its plan or
// exits with an error without saying why counts as one failure more.
import { spawn } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Parser } from 'tap-parser';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const compiled = join(root, 'build', 'ts', 'test');
const args = process.argv.slice(2);
const flags = new Set(args.filter((arg) => arg.startsWith('--')));
const names = args.filter((arg) => !arg.startsWith('--'));
const quick = flags.has('--quick');
const verbose = flags.has('--verbose');
const jobs = Number([...flags].find((flag) => flag.startsWith('--jobs='))?.slice(7) ?? 2);
const timeoutMs = 1000 * Number(process.env.WORDMASK_TEST_TIMEOUT ?? 900);
// What stays of a crashed file's error output: enough for a stack.
const keptStderr = 20_000;

/** Files that measure time or memory: they run one at a time, after the others. */
const runsAlone = (file) => file.endsWith('.alone.test.js') || file.startsWith('leak/');

function testFiles() {
  if (!existsSync(compiled))
    throw new Error('no compiled tests: run `npm test`, or `node scripts/ensure.mjs tests` first');
  return readdirSync(compiled, { recursive: true })
    .map((file) => file.replaceAll('\\', '/'))
    .filter((file) => file.endsWith('.test.js'))
    .filter((file) => existsSync(join(root, 'test', file.replace(/\.js$/, '.ts'))))
    .filter((file) => names.length === 0 || names.some((name) => `test/${file}`.includes(name)))
    .sort();
}

/** Counts the points of one TAP stream, subtests included. */
class Tally {
  passed = 0;
  failed = 0;
  skipped = 0;
  failures = [];
  skips = new Map();

  constructor(parser) {
    this.follow(parser, []);
  }

  get points() {
    return this.passed + this.failed + this.skipped;
  }

  follow(parser, path) {
    let before = this.points;
    let failedBefore = this.failed;
    parser.on('child', (child) => {
      before = this.points;
      failedBefore = this.failed;
      this.follow(child, [...path, child.name]);
    });
    parser.on('assert', (point) => {
      // A subtest's closing point repeats what its own points said, unless it alone failed (plan, timeout).
      const repeats = this.points > before && (point.ok || this.failed > failedBefore);
      if (!repeats) this.count(point, path);
      before = this.points;
      failedBefore = this.failed;
    });
  }

  count(point, path) {
    const title = [...path, point.name].filter(Boolean).join(' > ');
    if (point.skip || point.todo) {
      this.skipped += 1;
      const reason = typeof point.skip === 'string' ? point.skip : title;
      this.skips.set(reason, (this.skips.get(reason) ?? 0) + 1);
    } else if (point.ok) this.passed += 1;
    else this.fail(title, point.diag);
  }

  fail(title, diag) {
    this.failed += 1;
    this.failures.push({ title, diag });
  }
}

function runFile(file) {
  return new Promise((resolve) => {
    const started = performance.now();
    const parser = new Parser();
    const tally = new Tally(parser);
    // tap's own limit of 30 s a file is for idle machines; the one below counts.
    const env = {
      ...process.env,
      TAP_BAIL: '0',
      TAP_TIMEOUT: String(timeoutMs / 1000),
      ...(quick ? { WORDMASK_QUICK: '1' } : {}),
    };
    const child = spawn(process.execPath, ['--enable-source-maps', join(compiled, file)], {
      cwd: root,
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let stderr = '';
    let timedOut = false;
    const timer = setTimeout(() => {
      timedOut = true;
      child.kill('SIGKILL');
    }, timeoutMs);
    child.stdout.pipe(parser);
    if (verbose) child.stdout.pipe(process.stdout, { end: false });
    child.stderr.on('data', (chunk) => {
      stderr = (stderr + chunk).slice(-keptStderr);
    });
    let ended;
    const finish = () => {
      if (ended === undefined || parser.results === null) return;
      clearTimeout(timer);
      const { code, signal } = ended;
      if (timedOut) tally.fail(`${file} did not end within ${timeoutMs / 1000} s`);
      else if (signal !== null) tally.fail(`${file} was ended by ${signal}`);
      else if (code !== 0 && tally.failed === 0) tally.fail(`${file} exited with status ${code}`);
      else if (!parser.results.ok && tally.failed === 0) tally.fail(`${file} broke off: ${describe(parser.results)}`);
      resolve({ file, tally, stderr, seconds: (performance.now() - started) / 1000 });
    };
    parser.on('complete', finish);
    child.on('close', (code, signal) => {
      ended = { code, signal };
      finish();
    });
  });
}

function describe(results) {
  return results.failures.map((failure) => failure.tapError ?? failure.name).join('; ') || 'no test points';
}

function report({ file, tally, stderr, seconds }) {
  const counts = [`${tally.passed} passed`];
  if (tally.failed > 0) counts.push(`${tally.failed} failed`);
  if (tally.skipped > 0) counts.push(`${tally.skipped} skipped`);
  console.log(
    `${tally.failed > 0 ? 'FAIL' : 'ok  '} test/${file.replace(/\.js$/, '.ts')}  ${counts.join(', ')}  (${seconds.toFixed(1)} s)`,
  );
  for (const [reason, count] of tally.skips) console.log(`     skipped ${count}: ${reason}`);
  for (const { title, diag } of tally.failures) {
    console.log(`     not ok: ${title}`);
    if (diag) console.log(indent(formatDiag(diag)));
  }
  if (stderr !== '' && (tally.failed > 0 || verbose)) console.log(indent(`stderr:\n${stderr.trimEnd()}`));
}

function formatDiag({ stack, source, diff, ...rest }) {
  const lines = Object.entries(rest)
    .filter(([key]) => !['at', 'tapCaught', 'compare'].includes(key))
    .map(([key, value]) => `${key}: ${typeof value === 'string' ? value : JSON.stringify(value)}`);
  for (const text of [diff, source, stack]) if (text) lines.push(String(text).trimEnd());
  return lines.join('\n');
}

function indent(text) {
  return text
    .split('\n')
    .map((line) => `       ${line}`)
    .join('\n');
}

/** Runs the files, `width` at a time, reporting each as it ends. */
async function runAll(files, width, totals) {
  const queue = [...files];
  const worker = async () => {
    for (let file = queue.shift(); file !== undefined; file = queue.shift()) {
      const result = await runFile(file);
      report(result);
      for (const key of ['passed', 'failed', 'skipped']) totals[key] += result.tally[key];
    }
  };
  await Promise.all(Array.from({ length: width }, worker));
}

const files = testFiles();
const totals = { passed: 0, failed: 0, skipped: 0 };
await runAll(
  files.filter((file) => !runsAlone(file)),
  Math.max(1, jobs),
  totals,
);
if (!quick) await runAll(files.filter(runsAlone), 1, totals);
if (totals.passed + totals.failed + totals.skipped === 0) console.log('no test ran');
console.log(
  `${totals.passed} passed, ${totals.failed} failed${totals.skipped > 0 ? `, ${totals.skipped} skipped` : ''}`,
);
process.exitCode = totals.failed > 0 || totals.passed + totals.skipped === 0 ? 1 : 0;
