/**
 * Kills a run at random moments until it is done and compares it with one that was left alone. By hand:
 * `node build/ts/test/train/kills.js 50` for 50 kills of a 200-step run.
 */
import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { readMetrics } from '#lib/entry/train.js';
import { Random } from '#lib/util/random.js';
import { toyRecipe, writePairs } from './toy.js';

const script = fileURLToPath(new URL('./run-toy.js', import.meta.url));

export interface KillReport {
  readonly kills: number;
  /** Highest step seen at each kill. */
  readonly steps: readonly number[];
  readonly sameLosses: boolean;
  readonly sameWeights: boolean;
}

/** @param kills how often the run is killed before it may end */
export async function killAndResume(folder: string, kills: number, steps: number, seed = 1): Promise<KillReport> {
  const data = join(folder, 'data');
  await writePairs(data, 24);
  const recipe = toyRecipe(data, { steps, batch: 4, save: { every: 3, keep: 2 } });
  const [whole, killed] = [join(folder, 'whole'), join(folder, 'killed')];
  await start(whole, recipe).ended;
  const random = new Random(seed);
  const seen: number[] = [];
  while (seen.length < kills) {
    const run = start(killed, recipe);
    // Mostly within a few steps of where it went on, which is where saves happen; at times before the first.
    run.killAfter(
      random.chance(0.15) ? 0 : 1 + random.int(Math.max(2, Math.floor((2 * steps) / kills))),
      random.int(12),
    );
    const { code, last } = await run.ended;
    if (code === 0) return finish(whole, killed, steps, seen);
    seen.push(last);
  }
  await start(killed, recipe).ended;
  return finish(whole, killed, steps, seen);
}

function start(out: string, recipe: object) {
  const child = spawn(process.execPath, [script, out, JSON.stringify(recipe)], { stdio: ['ignore', 'pipe', 'pipe'] });
  let text = '';
  let errors = '';
  let onStep = (): void => undefined;
  child.stdout.on('data', (piece: Buffer) => {
    text += piece.toString();
    onStep();
  });
  child.stderr.on('data', (piece: Buffer) => (errors += piece.toString()));
  const ended = new Promise<{ code: number | null; last: number }>((resolve, reject) => {
    child.on('close', (code, signal) => {
      const last = Number(
        text
          .trim()
          .split('\n')
          .filter((line) => /^\d+$/.test(line))
          .at(-1) ?? 0,
      );
      if (code !== 0 && signal !== 'SIGKILL') reject(new Error(`the run failed: ${errors}`));
      else resolve({ code, last });
    });
  });
  /** Kills once `steps` steps were told, some milliseconds later: in the middle of whatever comes next. */
  const killAfter = (steps: number, ms: number): void => {
    const kill = (): void => void setTimeout(() => child.kill('SIGKILL'), ms);
    if (steps === 0) setTimeout(kill, 20 * ms);
    onStep = () => {
      if (steps > 0 && text.split('\n').length > steps) kill();
    };
  };
  return { ended, killAfter };
}

async function finish(whole: string, killed: string, steps: number, seen: readonly number[]): Promise<KillReport> {
  const losses = async (out: string): Promise<string> =>
    JSON.stringify((await readMetrics(join(out, 'metrics.jsonl'))).map(({ step, losses }) => [step, losses]));
  const weights = async (out: string): Promise<Buffer> =>
    Buffer.concat(
      await Promise.all(
        ['model', 'optimizer'].map((name) => readFile(join(out, `step-${steps}`, `${name}.safetensors`))),
      ),
    );
  return {
    kills: seen.length,
    steps: seen,
    sameLosses: (await losses(whole)) === (await losses(killed)),
    sameWeights: (await weights(whole)).equals(await weights(killed)),
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const folder = await mkdtemp(join(tmpdir(), 'wordmask-kills-'));
  const began = performance.now();
  const report = await killAndResume(folder, Number(process.argv[2] ?? 50), 200);
  console.log(JSON.stringify({ ...report, seconds: Math.round((performance.now() - began) / 1000) }));
  await rm(folder, { recursive: true });
}
