/** `segment --dry-run`: what would be done, and the memory it takes, without doing it. */
import { join } from 'node:path';
import { probeImage } from '../../image/decode.js';
import type { Model } from '../../pipelines/model.js';
import type { CallPlan } from '../../pipelines/plan.js';
import type { SegmentOptions } from '../../pipelines/segment-options.js';
import type { Vocabulary } from '../../pipelines/vocabulary.js';
import { formatBytes } from '../../util/bytes.js';
import { isWordmaskError, type WordmaskError } from '../../util/errors.js';
import { exit } from '../exit-codes.js';
import type { Job } from '../names.js';
import { count, table } from '../output.js';
import { Progress } from '../progress.js';
import type { Context } from '../run.js';

interface PlannedImage {
  readonly input: string;
  readonly outputs: readonly string[];
  readonly width?: number;
  readonly height?: number;
  readonly plan?: CallPlan;
  readonly error?: { readonly code: string; readonly message: string };
}

interface DryRun {
  readonly context: Context;
  readonly model: Model;
  readonly vocab: Vocabulary;
  readonly jobs: readonly Job[];
  readonly options: SegmentOptions;
  readonly folder: string;
}

/** Exit code 0 if everything fits and can be read, 4 if something does not fit, 1 if something cannot be read. */
export async function dryRun(run: DryRun): Promise<number> {
  const { context, jobs } = run;
  const progress = new Progress(context.output, jobs.length);
  const images: PlannedImage[] = [];
  for (const job of jobs) {
    context.interrupt.signal.throwIfAborted();
    images.push(await planImage(run, job));
    progress.step();
  }
  progress.end();
  show(run, images);
  if (images.some(({ plan }) => plan && !plan.fits)) return exit.device;
  return images.some(({ error }) => error) ? exit.some : exit.done;
}

async function planImage({ model, vocab, options, folder }: DryRun, job: Job): Promise<PlannedImage> {
  const base = {
    input: job.input.path,
    outputs: job.outputs.map(({ stem, extension }) => join(folder, `${stem}${extension}`)),
  };
  if (job.input.path === '-') return base;
  try {
    const { formats, limits } = options as { formats?: never; limits?: never };
    const { width, height } = await probeImage(job.input.path, { formats, limits });
    return { ...base, width, height, plan: model.plan(width, height, vocab, options) };
  } catch (error) {
    if (!isWordmaskError(error)) throw error;
    const { code, message } = error as WordmaskError;
    return { ...base, error: { code, message } };
  }
}

function show({ context, model, vocab }: DryRun, images: readonly PlannedImage[]): void {
  const { output } = context;
  const { system, dtype, device, sizes } = model.info;
  const weights = sizes.parametersBytes;
  if (output.jsonl) {
    for (const image of images) output.value(image);
    return;
  }
  if (output.json) {
    output.value({
      system,
      device,
      dtype,
      weightsBytes: weights,
      labels: vocab.labels.length,
      prompts: vocab.spec.prompts.length,
      images,
    });
    return;
  }
  output.line(
    `${count(images.length, 'image')}, ${count(vocab.labels.length, 'label')} with ${count(vocab.spec.prompts.length, 'prompt')}; ${system} on ${device} in ${dtype}, weights ${formatBytes(weights)}`,
  );
  const rows = images.map(({ input, width, height, plan, outputs, error }) =>
    error
      ? [input, error.code, error.message, '', '', '']
      : [
          input,
          width === undefined ? '?' : `${width} x ${height}`,
          plan ? count(plan.tiles, 'window') : '',
          plan ? formatBytes(plan.deviceBytes + plan.hostBytes) : '',
          plan ? `${plan.route}${plan.fits ? '' : ', DOES NOT FIT'}` : '',
          outputs.join(', '),
        ],
  );
  for (const line of table([['image', 'size', 'work', 'memory', 'route', 'outputs'], ...rows])) output.line(line);
  const plans = images.flatMap(({ plan }) => plan ?? []);
  if (plans.length > 0)
    output.line(
      `peak memory besides the weights: ${formatBytes(Math.max(...plans.map((plan) => plan.deviceBytes + plan.hostBytes)))}`,
    );
}
