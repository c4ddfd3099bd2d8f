/** Label map and planes of a read-out on the host. */
import { scoreFinish, type Tensor } from '../engine/index.js';
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
