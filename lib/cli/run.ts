/** From arguments to an exit code: parse, gather options, run, report. */
import { CommanderError } from 'commander';
import { WordmaskError } from '../util/errors.js';
import { type Gathered, gatherOptions } from './config.js';
import { exit, exitCodeOf } from './exit-codes.js';
import { Interrupt, Interrupted } from './interrupt.js';
import type { CommandName } from './options.js';
import { Output } from './output.js';
import { createProgram, type Invocation } from './program.js';

/** What a command works with. */
export interface Context {
  readonly args: readonly string[];
  /** Everything after `wordmask`, for hints that repeat the call. */
  readonly argv: readonly string[];
  readonly options: Readonly<Record<string, unknown>>;
  readonly output: Output;
  readonly interrupt: Interrupt;
}

export type CommandFunction = (context: Context) => Promise<number>;

const commands: Readonly<Record<CommandName, () => Promise<CommandFunction>>> = {
  segment: async () => (await import('./commands/segment.js')).segment,
  explain: async () => (await import('./commands/explain.js')).explain,
  'vocab build': async () => (await import('./commands/vocab.js')).vocabBuild,
  'vocab show': async () => (await import('./commands/vocab.js')).vocabShow,
  'vocab diff': async () => (await import('./commands/vocab.js')).vocabDiff,
  'models list': async () => (await import('./commands/models.js')).modelsList,
  'models pull': async () => (await import('./commands/models.js')).modelsPull,
  'models verify': async () => (await import('./commands/models.js')).modelsVerify,
  'models info': async () => (await import('./commands/models.js')).modelsInfo,
  'models rm': async () => (await import('./commands/models.js')).modelsRemove,
  convert: async () => (await import('./commands/convert.js')).convert,
  doctor: async () => (await import('./commands/doctor.js')).doctor,
  bench: async () => (await import('./commands/bench.js')).bench,
  'data draw': async () => (await import('./commands/data.js')).dataDraw,
  'data convert': async () => (await import('./commands/data.js')).dataConvert,
  eval: async () => (await import('./commands/eval.js')).evalCommand,
  'eval merge': async () => (await import('./commands/eval-compare.js')).evalMerge,
  'eval diff': async () => (await import('./commands/eval-compare.js')).evalDiff,
  'eval drawn-scenes': async () => (await import('./commands/eval-drawn-scenes.js')).evalDrawnScenes,
  train: async () => (await import('./commands/train.js')).trainCommand,
  'eval robustness': async () => (await import('./commands/robustness.js')).evalRobustness,
  reproduce: async () => (await import('./commands/reproduce.js')).reproduceCommand,
  tune: async () => (await import('./commands/tune.js')).tuneCommand,
  demo: async () => (await import('./commands/demo.js')).demo,
};

/** Runs one call and sets the process's exit code. */
export async function runCommandLine(argv: readonly string[], version: string): Promise<void> {
  // Errors met before the options are known still take the form that was asked for.
  let output = new Output({ json: argv.includes('--json') || argv.includes('--jsonl') });
  for (const stream of [process.stdout, process.stderr]) stream.on('error', onStreamError);
  using interrupt = new Interrupt();
  const run = async ({ command, args, flags }: Invocation): Promise<void> => {
    const gathered = await gatherOptions(command, flags);
    output = new Output(gathered.values);
    if (gathered.values.printConfig) {
      printConfig(command, gathered);
      return;
    }
    const start = await commands[command]();
    process.exitCode = await start({ args, argv, options: gathered.values, output, interrupt });
  };
  const program = createProgram(version, run);
  for (const command of [program, ...program.commands.flatMap((child) => [child, ...child.commands])])
    command.configureOutput({ outputError: () => undefined });
  try {
    if (argv.length === 0) program.help();
    await program.parseAsync([...argv], { from: 'user' });
  } catch (error) {
    process.exitCode = report(error, output, argv);
  }
}

function report(error: unknown, output: Output, argv: readonly string[]): number {
  if (error instanceof Interrupted) {
    output.note(error.message);
    return error.exitCode;
  }
  if (!(error instanceof CommanderError)) {
    output.error(error);
    return exitCodeOf(error);
  }
  if (error.exitCode === 0 || argv.length === 0) return exit.done;
  // A family without its command ("wordmask models") has printed its help.
  if (error.code === 'commander.help') return exit.usage;
  output.error(new WordmaskError('E_USAGE', usageMessage(error.message)));
  return exit.usage;
}

/** Commander's text without its own "error:", with suggestion on the same line. */
function usageMessage(message: string): string {
  return `${message
    .replace(/^error: /, '')
    .split('\n')
    .filter((line) => line.trim() !== '')
    .join(' ')}; see wordmask --help`;
}

function printConfig(command: CommandName, { values, sources, file }: Gathered): void {
  const { printConfig: _, ...options } = values;
  const { printConfig: __, ...from } = sources;
  process.stdout.write(`${JSON.stringify({ command, file: file ?? null, options, sources: from }, null, 2)}\n`);
}

/** A reader that went away (`| head`) is no failure. */
function onStreamError(error: NodeJS.ErrnoException): void {
  if (error.code === 'EPIPE') process.exit(process.exitCode ?? exit.done);
  throw error;
}
