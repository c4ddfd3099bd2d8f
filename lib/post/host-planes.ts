/** Label map and planes of a read-out on the host. */
import { firstNonFinite, scoreFinish, type Tensor } from '../engine/index.js';
import { WordmaskError } from '../util/errors.js';
import { copyInSlices } from '../util/slices.js';
import type { Planes, ReadOutSettings } from './read-out.js';

type Values = Int32Array | Float32Array;

/** How a running best becomes planes. */
export type FinishSettings = Pick<ReadOutSettings, 'threshold' | 'margin' | 'background'> & {
  readonly options: { readonly logitScale: number };
  readonly outputs: {
    readonly margin: boolean;
    readonly entropy: boolean;
    readonly topk: number;
    readonly logit?: boolean;
  };
};

/** Planes on the host, filled band by band. Where one band is the whole picture, its arrays are taken as they are. */
export class HostPlanes {
  private readonly filled = new Map<string, Values>();

  constructor(
    private readonly width: number,
    private readonly height: number,
    private readonly settings: FinishSettings,
  ) {}

  /** @throws E_NUMERIC naming the first pixel whose scores are not finite */
  async take(state: Tensor, row0: number, rows: number): Promise<void> {
    const { settings, width } = this;
    const { margin, entropy, topk } = settings.outputs;
    const result = scoreFinish(state, {
      scale: settings.options.logitScale,
      threshold: settings.threshold,
      marginThreshold: settings.margin,
      background: settings.background,
      nothing: -1,
      labelBits: 32,
      topk,
      score: true,
      margin,
      entropy,
    });
    checkFinite((await firstNonFinite(state).data()) as Float64Array, row0, rows, width);
    await this.put('labels', result.labels, 1, row0, rows);
    for (const name of ['score', 'margin', 'entropy'] as const) {
      const plane = result[name];
      if (plane) await this.put(name, plane, 1, row0, rows);
    }
    // Plane 0 of a running best is the best logit itself.
    if (settings.outputs.logit) await this.put('logit', state.slice(0, 0, 1).contiguous(), 1, row0, rows);
    if (!result.topk) return;
    await this.put('topkLabels', result.topk.classes, topk, row0, rows);
    await this.put('topkScores', result.topk.probabilities, topk, row0, rows);
  }

  /** A band of `count` planes [count, rows, W] into planes [count, H, W]. */
  private async put(name: string, band: Tensor, count: number, row0: number, rows: number): Promise<void> {
    const { width, height, filled } = this;
    const values = (await band.data()) as Values;
    if (rows === height) return void filled.set(name, values);
    const pixels = width * height;
    const target =
      filled.get(name) ??
      (values instanceof Int32Array ? new Int32Array(count * pixels) : new Float32Array(count * pixels));
    filled.set(name, target);
    const size = rows * width;
    for (let k = 0; k < count; k++)
      await copyInSlices(target, values.subarray(k * size, (k + 1) * size), k * pixels + row0 * width);
  }

  planes(): Planes {
    const { filled } = this;
    const floats = (name: string) => filled.get(name) as Float32Array | undefined;
    return {
      labels: filled.get('labels') as Int32Array,
      score: floats('score') as Float32Array,
      logit: floats('logit'),
      margin: floats('margin'),
      entropy: floats('entropy'),
      topkLabels: filled.get('topkLabels') as Int32Array | undefined,
      topkScores: floats('topkScores'),
    };
  }
}

/**
 * Looks into the running best itself: a pixel whose softmax sum is NaN has no winner, and its planes would read as nothing.
 * Takes what `firstNonFinite` says about the state [planes, rows, W].
 */
function checkFinite([index = -1]: Float64Array, row0: number, rows: number, width: number): void {
  if (index < 0) return;
  const pixel = index % (rows * width);
  const [x, y] = [pixel % width, row0 + Math.floor(pixel / width)];
  throw new WordmaskError(
    'E_NUMERIC',
    `the scores at pixel ${x}, ${y} are not finite: the weights, the text features or the options (mean, std, logitScale) lead out of range; open the model with checkWeights: true`,
    { details: { x, y } },
  );
}
