/** Label map and planes of a read-out on the host. */
import { firstNonFinite, scoreFinish, type Tensor } from '../engine/index.js';
import { WordmaskError } from '../util/errors.js';
import { copyInSlices } from '../util/slices.js';
import type { Planes, ReadOutSettings } from './read-out.js';

/** Planes on the host, filled band by band. */
export class HostPlanes {
  private readonly labels: Int32Array;
  private readonly floats: Record<'score' | 'margin' | 'entropy', Float32Array | undefined>;
  private readonly topkLabels: Int32Array | undefined;
  private readonly topkScores: Float32Array | undefined;

  constructor(
    private readonly width: number,
    private readonly height: number,
    private readonly settings: ReadOutSettings,
  ) {
    const pixels = width * height;
    const { margin, entropy, topk } = settings.outputs;
    this.labels = new Int32Array(pixels);
    this.floats = {
      score: new Float32Array(pixels),
      margin: margin ? new Float32Array(pixels) : undefined,
      entropy: entropy ? new Float32Array(pixels) : undefined,
    };
    if (topk > 0) {
      this.topkLabels = new Int32Array(topk * pixels);
      this.topkScores = new Float32Array(topk * pixels);
    }
  }

  /** @throws E_NUMERIC naming the first pixel whose scores are not finite */
  async take(state: Tensor, row0: number, rows: number): Promise<void> {
    const { settings, width, height } = this;
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
    const at = row0 * width;
    checkFinite((await firstNonFinite(state).data()) as Float64Array, row0, rows, width);
    await copyInSlices(this.labels, (await result.labels.data()) as Int32Array, at);
    for (const name of ['score', 'margin', 'entropy'] as const) {
      const tensor = result[name];
      if (tensor && this.floats[name]) await copyInSlices(this.floats[name], (await tensor.data()) as Float32Array, at);
    }
    if (!this.topkLabels || !result.topk) return;
    const labels = (await result.topk.classes.data()) as Int32Array;
    const scores = (await result.topk.probabilities.data()) as Float32Array;
    for (let k = 0; k < topk; k++) {
      const [from, to] = [k * rows * width, k * height * width + at];
      await copyInSlices(this.topkLabels, labels.subarray(from, from + rows * width), to);
      if (this.topkScores) await copyInSlices(this.topkScores, scores.subarray(from, from + rows * width), to);
    }
  }

  planes(): Planes {
    const { labels, floats, topkLabels, topkScores } = this;
    return {
      labels,
      score: floats.score as Float32Array,
      margin: floats.margin,
      entropy: floats.entropy,
      topkLabels,
      topkScores,
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
