/** What a call would need: windows, bytes, and whether they fit. */
import { ReadOut } from '../post/read-out.js';
import type { Model } from './model.js';
import { type SegmentOptions, backgroundRule, checkSegmentOptions, refineOf } from './segment-options.js';
import { type Vocabulary, queriesOf } from './vocabulary.js';

export interface CallPlan {
  /** Bytes of device memory at the widest point, besides the weights. */
  readonly deviceBytes: number;
  /** Bytes of host memory: picture, label map, planes. */
  readonly hostBytes: number;
  /** Sliding windows. */
  readonly tiles: number;
  /** Windows encoded at once. */
  readonly batch: number;
  readonly fits: boolean;
  /** How the label map is made: `running-best` (memory free of the number of labels), `pamr-bands`, `crf-volume`, `volume`. */
  readonly route: string;
}

export const windowGroup = 8;

export function planCall(model: Model, width: number, height: number, vocab: Vocabulary, given: SegmentOptions): CallPlan {
  const { common, system } = checkSegmentOptions(given);
  const options = model.options(system, common.preset);
  const geometry = model.parts.system.plan(width, height, options, common.maxSide);
  const { classOf, classes } = queriesOf(vocab.spec, vocab.spec.prompts.map(() => new Float32Array(0)), 0);
  const outputs = common.outputs ?? [];
  const refine = refineOf(common.refine, options);
  const budget = model.parts.budget;
  const settings = {
    options, refine, ...backgroundRule(vocab.spec.background, common, options, vocab.spec.backgroundIndex), budget,
    outputs: { margin: outputs.includes('margin'), entropy: outputs.includes('entropy'), probabilities: outputs.includes('probabilities'), topk: outputs.includes('topk') ? Math.min(common.k ?? 5, classes) : 0 },
  };
  const tiles = geometry.boxes.length / 4;
  const tokens = geometry.grid[0] * geometry.grid[1];
  const features = tiles * tokens * model.parts.embed * 4;
  // Widest activation of a window group: the MLP's hidden layer beside residual stream and norms, about 12 widths in f32.
  const encode = Math.min(tiles, windowGroup) * tokens * model.info.sizes.embed * 2 * 12 * 4;
  const readOut = ReadOut.bytes(settings, classes, classOf.length, width, height);
  const deviceBytes = features + Math.max(encode, readOut) + width * height * 3;
  const planes = 1 + (settings.outputs.margin ? 1 : 0) + (settings.outputs.entropy ? 1 : 0) + 2 * settings.outputs.topk + (settings.outputs.probabilities ? classes : 0);
  const hostBytes = width * height * (3 + 4 + (classes > 255 ? 2 : 1) + 4 * planes);
  const whole = refine.kind === 'crf' || settings.outputs.probabilities;
  return {
    deviceBytes, hostBytes, tiles, batch: Math.min(tiles, windowGroup),
    fits: whole ? readOut <= budget : deviceBytes <= Math.max(budget, deviceBytes - readOut + budget),
    route: refine.kind === 'crf' ? 'crf-volume' : settings.outputs.probabilities ? 'volume' : refine.kind === 'pamr' ? 'pamr-bands' : 'running-best',
  };
}
