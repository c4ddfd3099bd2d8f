/** Child processes of the bench: workers of our own and PyTorch's, each answering in JSON lines. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

/**
 * Runs a command on one line of input; `answer` gets each line of output that is JSON. A command that says nothing for `limitMs` is ended.
 * @returns what went wrong, or nothing
 */
export async function converse(
  command: string,
  args: readonly string[],
  input: unknown,
  options: { env?: NodeJS.ProcessEnv; limitMs: number; answer(line: string): void },
): Promise<string> {
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'], env: { ...process.env, ...options.env } });
  let stderr = '';
  child.stderr.on('data', (chunk) => {
    stderr = `${stderr}${chunk}`.slice(-4000);
  });
  child.stdin.on('error', () => undefined);
  child.stdin.end(`${JSON.stringify(input)}\n`);
  let late = false;
  const stop = () => {
    late = true;
    child.kill('SIGKILL');
  };
  let timer = setTimeout(stop, options.limitMs);
  const ended = once(child, 'close') as Promise<[number | null, string | null]>;
  ended.catch(() => undefined);
  for await (const line of createInterface({ input: child.stdout })) {
    clearTimeout(timer);
    timer = setTimeout(stop, options.limitMs);
    if (line.startsWith('{')) options.answer(line);
  }
  const [status, signal] = await ended;
  clearTimeout(timer);
  if (late) return `no answer within ${Math.round(options.limitMs / 1000)} s`;
  if (status === 0) return '';
  return `the process ended with ${signal ?? `status ${status}`}${stderr ? `: ${stderr.trim().split('\n').slice(-3).join(' / ')}` : ''}`;
}

/** What a worker says: which piece of work it begins, then what came of it. */
export type Spoken<A> = { readonly begins: string } | ({ readonly id: string } & A);

/**
 * Has pieces of work done by workers (`main --worker`), one process after another: one that dies takes only the piece with it that
 * it was at.
 */
export async function inProcesses<A>(
  main: string,
  request: { readonly ids: readonly string[] } & Readonly<Record<string, unknown>>,
  options: {
    readonly env?: NodeJS.ProcessEnv;
    readonly limitMs: number;
    over(): boolean;
    outcome(answer: { readonly id: string } & (A | { readonly error: string })): void;
  },
): Promise<void> {
  let left = [...request.ids];
  while (left.length > 0 && !options.over()) {
    let current: string | undefined;
    const done = new Set<string>();
    const take = (answer: Parameters<typeof options.outcome>[0]) => {
      done.add(answer.id);
      options.outcome(answer);
    };
    const asked = { ...request, ids: left };
    const trouble = await converse(process.execPath, [main, '--worker'], asked, {
      env: options.env,
      limitMs: options.limitMs,
      answer: (line) => {
        const answer = JSON.parse(line) as Spoken<A>;
        if ('begins' in answer) current = answer.begins;
        else take(answer);
      },
    });
    if (current !== undefined && !done.has(current)) take({ id: current, error: trouble || 'the process ended' });
    else if (done.size === 0 && !options.over())
      for (const id of left) take({ id, error: trouble || 'the process did nothing' });
    left = left.filter((id) => !done.has(id));
  }
}

export interface TorchAnswer {
  readonly id: string;
  readonly error?: string;
  readonly median?: number;
  readonly p95?: number;
  readonly p99?: number;
  readonly best?: number;
  readonly runs?: number;
  readonly batch?: number;
  /** Which of its back ends was the fastest. */
  readonly by?: string;
}

export interface TorchStart {
  readonly torch: string;
  readonly device: string;
}

/** What the script says: versions first, then an answer a case. Empty: it ran to its end. */
export function askTorch(
  python: string,
  script: string,
  input: unknown,
  options: { limitMs: number; start(start: TorchStart): void; answer(answer: TorchAnswer): void },
): Promise<string> {
  return converse(python, [script], input, {
    limitMs: options.limitMs,
    answer: (line) => {
      const answer = JSON.parse(line) as TorchAnswer | TorchStart;
      if ('torch' in answer) options.start(answer);
      else options.answer(answer);
    },
  }).catch((error: Error) => error.message);
}
