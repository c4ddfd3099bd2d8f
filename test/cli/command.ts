/** Runs the built command as a user's shell would. */
import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const main = fileURLToPath(new URL('../../../../dist/cli/main.js', import.meta.url));

export interface Result {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: Buffer;
  readonly out: string;
  readonly err: string;
}

export interface RunOptions {
  readonly cwd: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly input?: Buffer | string;
  /** Called with the process at its start. */
  readonly onStart?: (child: ChildProcess) => void;
  /** Called with the process and all of stdout so far, at every piece. */
  readonly onOutput?: (child: ChildProcess, out: string) => void;
}

/** Variables of the caller's own that would change what the command does. */
const inherited = Object.fromEntries(
  Object.entries(process.env).filter(([name]) => !/^(WORDMASK_|HF_|HUGGINGFACE_|NO_COLOR|FORCE_COLOR|CI$)/.test(name)),
);

export function wordmask(args: readonly string[], options: RunOptions): Promise<Result> {
  const { cwd, env, input, onStart, onOutput } = options;
  const child = spawn(process.execPath, [main, ...args], {
    cwd,
    env: { ...inherited, HF_HUB_CACHE: '/nonexistent/cache', ...env },
  });
  onStart?.(child);
  const [out, err]: Buffer[][] = [[], []];
  child.stdout.on('data', (piece: Buffer) => {
    out?.push(piece);
    onOutput?.(child, Buffer.concat(out ?? []).toString());
  });
  child.stderr.on('data', (piece: Buffer) => err?.push(piece));
  // A command that ends before reading its input closes the pipe.
  child.stdin.on('error', () => undefined);
  child.stdin.end(input);
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => {
      const stdout = Buffer.concat(out ?? []);
      resolve({ code, signal, stdout, out: stdout.toString(), err: Buffer.concat(err ?? []).toString() });
    });
  });
}
