/**
 * `npm run bench:gpu -- [--device cuda:0] [--only PATTERN] [--quick] [--smoke] [--budget SECONDS] [--seconds S] [--out FILE] [--no-torch]`:
 * every shape of the kernel catalogue on a device, with its accept and goal figures. Needs a driver, Node, `dist/` and `build/`.
 * Lines go to `bench/results/<device>.jsonl` (a GPU's; `--out` for others), a table to the output. PyTorch runs the same cases
 * where `WORDMASK_PYTHON` or `python3` has it, cuBLASLt where the machine has it. Ends with 1 when a case failed.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { packageRoot } from '#lib/binding/addon.js';
import { exitCodeOf } from '#lib/cli/exit-codes.js';
import { resolveDevice } from '#lib/engine/index.js';
import { show, WordmaskError } from '#lib/util/errors.js';
import { Bench, type GpuCase, idOf } from './case.js';
import { allCases, peakIds } from './cases.js';
import { type CaseLine, ceilings, judge, type Peaks, ratioLine } from './judge.js';
import { askTorch, inProcesses, type TorchAnswer } from './processes.js';
import { deviceFacts, Results, slug, table } from './report.js';
import type { QueuedTiming } from './timing.js';
import { type WorkAnswer, type WorkRequest, work } from './worker.js';

const { values } = parseArgs({
  options: {
    device: { type: 'string', default: 'cuda:0' },
    only: { type: 'string', default: '' },
    quick: { type: 'boolean', default: false },
    smoke: { type: 'boolean', default: false },
    budget: { type: 'string', default: '480' },
    seconds: { type: 'string' },
    out: { type: 'string' },
    'no-torch': { type: 'boolean', default: false },
    worker: { type: 'boolean', default: false },
  },
});

const here = fileURLToPath(import.meta.url);
/** A case that takes longer than this hangs. */
const caseLimitMs = 120_000;
/** Part of the budget that is PyTorch's, where it runs. */
const torchShare = 0.35;

interface Run {
  readonly device: string;
  readonly cases: readonly GpuCase[];
  readonly results: Results;
  readonly timing: { readonly seconds: number; readonly least: number };
  readonly deadline: number;
  readonly torch: string | undefined;
}

function numberOf(option: string, text: string): number {
  const value = Number(text);
  if (text.trim() !== '' && value >= 0 && value < 1e6) return value;
  throw new WordmaskError('E_OPTION', `--${option} must be seconds from 0, got ${show(text)}`);
}

function patternOf(text: string): RegExp {
  try {
    return new RegExp(text, 'i');
  } catch (cause) {
    throw new WordmaskError('E_OPTION', `--only: ${(cause as Error).message}`);
  }
}

async function main(): Promise<number> {
  // Opened by the workers alone: this process only has to know that they can.
  const device = resolveDevice(values.device);
  const bench = new Bench(device, values.smoke);
  const pattern = patternOf(values.only);
  const matches = (c: GpuCase) => c.group === 'peak' || pattern.test(idOf(c));
  const facts = deviceFacts(device);
  const file =
    values.out ?? (device.startsWith('cuda') ? join('bench', 'results', `${slug(facts.title)}.jsonl`) : undefined);
  const kind = device.split(':')[0];
  const python = process.env.WORDMASK_PYTHON ?? (kind === 'cuda' ? 'python3' : undefined);
  const run: Run = {
    device,
    cases: allCases(bench).filter(matches),
    results: new Results(file, facts),
    timing: values.smoke
      ? { seconds: 0, least: 2 }
      : {
          seconds: numberOf('seconds', values.seconds ?? (values.quick ? '0.1' : '0.5')),
          least: device === 'cpu' ? 2 : 5,
        },
    deadline: Date.now() + 1000 * numberOf('budget', values.budget),
    torch: values['no-torch'] || kind === 'simt' ? undefined : python,
  };
  const library = device.startsWith('cuda') ? await timeLibrary(run) : new Map<string, QueuedTiming>();
  const peaks = await timeOwn(run, library);
  for (const [id, timing] of library) run.results.add(judge(caseOf(run, id), timing, peaks, 'cublaslt'));
  await timeTorch(run, peaks);
  addRatios(run);
  console.log(
    `${facts.title}: product ${(peaks.flops / 1e12).toPrecision(4)} TFLOP/s, copy ${(peaks.bytes / 1e9).toPrecision(4)} GB/s\n`,
  );
  console.log(table(run.results.lines));
  if (file) console.log(`\nlines: ${file}`);
  return run.results.lines.some(({ verdict }) => verdict === 'failed') ? 1 : 0;
}

const caseOf = (run: Run, id: string): GpuCase => run.cases.find((c) => idOf(c) === id) as GpuCase;

/** What the module does with NVIDIA's library, in a process that asks for it; empty where there is none. */
async function timeLibrary({ device, cases, timing, deadline }: Run): Promise<Map<string, QueuedTiming>> {
  const found = new Map<string, QueuedTiming>();
  let absent = false;
  const until = Math.min(deadline, Date.now() + 60_000);
  await inProcesses<WorkAnswer>(
    here,
    {
      ...timing,
      device,
      tiny: values.smoke,
      cublaslt: true,
      ids: cases.filter((c) => c.cublaslt && !c.tier).map(idOf),
      deadline: until,
    } satisfies WorkRequest,
    {
      env: { WORDMASK_CUBLASLT: '1' },
      limitMs: caseLimitMs,
      over: () => absent || Date.now() > until,
      outcome: (answer) => {
        if (!('timing' in answer)) return;
        if (answer.library) found.set(answer.id, answer.timing);
        else absent = true;
      },
    },
  );
  if (found.size === 0)
    process.stderr.write('cuBLASLt: not on this machine (libcublasLt.so.13 or .12); no ratios to it\n');
  return found;
}

/** Our own kernels, each case a line; the peaks come first. */
async function timeOwn(run: Run, library: ReadonlyMap<string, QueuedTiming>): Promise<Peaks> {
  const { device, cases, results, timing } = run;
  const deadline = run.torch === undefined ? run.deadline : Date.now() + (run.deadline - Date.now()) * (1 - torchShare);
  let peaks: Peaks = ceilings(results.facts.title, { flops: 0, bytes: 0 });
  const learn = (c: GpuCase, { best }: QueuedTiming) => {
    const fastest = Math.min(best, library.get(idOf(c))?.best ?? best);
    const rate = (amount = 0) => (1000 * amount) / fastest;
    if (idOf(c) === peakIds.product) peaks = ceilings(results.facts.title, { ...peaks, flops: rate(c.cost.flops) });
    if (idOf(c) === peakIds.copy) peaks = ceilings(results.facts.title, { ...peaks, bytes: rate(c.cost.bytes) });
  };
  const begun = new Set<string>();
  await inProcesses<WorkAnswer>(
    here,
    { ...timing, device, tiny: values.smoke, cublaslt: false, ids: cases.map(idOf), deadline } satisfies WorkRequest,
    {
      limitMs: caseLimitMs,
      over: () => Date.now() > deadline,
      outcome: (answer) => {
        begun.add(answer.id);
        const c = caseOf(run, answer.id);
        if ('error' in answer) return results.add(without(c, 'wordmask', 'failed', answer.error));
        learn(c, answer.timing);
        // The clocks are those of a busy device now.
        if (c.group === 'peak') results.facts = deviceFacts(device);
        results.add(judge(c, answer.timing, peaks));
      },
    },
  );
  for (const c of cases.filter((c) => !begun.has(idOf(c))))
    results.add(without(c, 'wordmask', 'skipped', `the budget of ${values.budget} s is spent`));
  return peaks;
}

function without(c: GpuCase, by: string, verdict: 'failed' | 'skipped', error: string): CaseLine {
  return { name: c.group, case: idOf(c), by, shape: c.shape, dtype: c.dtype, verdict, error };
}

async function timeTorch(
  { torch, device, cases, results, timing, deadline, ...run }: Run,
  peaks: Peaks,
): Promise<void> {
  const script = join(packageRoot, 'bench', 'gpu', 'torch_cases.py');
  const none = (why: string) => process.stderr.write(`PyTorch: ${why}; no ratios to it\n`);
  if (torch === undefined) return void none(device.startsWith('simt') ? 'does not know this device' : 'not asked for');
  if (!existsSync(script)) return void none(`${script} is not here`);
  let version = '';
  const wanted = cases.filter((c) => c.torch);
  const request = {
    device: device === 'cpu' ? 'cpu' : 'cuda',
    // It tries several ways a case.
    ...timing,
    seconds: timing.seconds / 2,
    compile: !values.quick && !values.smoke,
    deadline: deadline / 1000,
    cases: wanted.map((c) => ({ id: idOf(c), ...c.torch?.spec })),
  };
  const trouble = await askTorch(torch, script, request, {
    limitMs: 2 * caseLimitMs,
    start: (start) => {
      version = start.torch;
    },
    answer: (answer) =>
      results.add(torchLine({ torch, device, cases, results, timing, deadline, ...run }, answer, version, peaks)),
  });
  if (trouble) none(version === '' ? `${torch} has none (${trouble.split('/').at(-1)?.trim()})` : trouble);
}

function torchLine(run: Run, answer: TorchAnswer, version: string, peaks: Peaks): CaseLine {
  const c = caseOf(run, answer.id);
  const { median, p95 = 0, p99 = 0, best = 0, runs = 0, batch = 1 } = answer;
  if (median === undefined) return without(c, 'torch', 'skipped', String(answer.error));
  const timing = { median, p95, p99, best, runs, batch, queueUs: 0, primed: true };
  return { ...judge(c, timing, peaks, 'torch'), torch: version, ...(answer.by && { 'fastest of torch': answer.by }) };
}

function addRatios({ cases, results }: Run): void {
  const median = (id: string, by: string) =>
    results.lines.find((line) => line.case === id && line.by === by && line.median_ms !== undefined)?.median_ms as
      | number
      | undefined;
  for (const c of cases) {
    const own = median(idOf(c), 'wordmask');
    // Lower tiers are measured against the same product of the library.
    const untiered = idOf(c).replace(/, tier \d$/, '');
    for (const [by, wanted] of [
      ['cublaslt', c.cublaslt],
      ['torch', c.torch],
    ] as const) {
      const other = median(untiered, by);
      if (own !== undefined && other !== undefined && wanted)
        results.add(ratioLine(c, by, own, other, values.smoke ? {} : wanted));
    }
  }
}

if (values.worker) await work();
else {
  try {
    process.exitCode = await main();
  } catch (error) {
    if (!(error instanceof WordmaskError)) throw error;
    console.error(`${error.code}: ${error.message}`);
    process.exitCode = exitCodeOf(error);
  }
}
