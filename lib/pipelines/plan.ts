/** What a call would need: windows, bytes, and whether they fit. */
import { ReadOut } from '../post/read-out.js';
import { show, WordmaskError } from '../util/errors.js';
import type { DenseModel } from './dense-model.js';
import type { Model } from './model.js';
import { windowGroup } from './segment.js';
import type { CheckedOptions, SegmentOptions } from './segment-options.js';
import { classCount, readOutSettings, underPolicy } from './settings.js';
import type { Vocabulary } from './vocabulary.js';

export interface CallPlan {
  /** Bytes of device memory at the widest point, besides the weights. */
  readonly deviceBytes: number;
  /** Bytes of host memory: picture, label map, planes. */
  readonly hostBytes: number;
  /** Sliding windows. */
  readonly tiles: number;
  /** Windows of the picture that are encoded at once; those of other calls may share the group. */
  readonly batch: number;
  readonly fits: boolean;
  /**
   * How the label map is made: `running-best` (memory free of the number of labels), `pamr-bands`, `crf-volume`, `volume`; a system
   * that predicts by itself names its own.
   */
  readonly route: string;
}

/** The allocator's blocks come in four sizes an octave (native/core/arena.h). */
const sizeClasses = 1.25;

export function planCall(
  model: Model,
  width: number,
  height: number,
  vocabulary: Vocabulary,
  given: SegmentOptions,
): CallPlan {
  return model.plan(width, height, vocabulary, given);
}

export function planDense(
  model: DenseModel,
  width: number,
  height: number,
  vocabulary: Vocabulary,
  { common, system }: CheckedOptions,
): CallPlan {
  checkSize(width, height);
  const vocab = underPolicy(vocabulary, common);
  const options = model.options(system, common.preset);
  const { budget } = model.parts;
  const geometry = model.parts.system.plan(width, height, options, common.maxSide);
  const settings = readOutSettings(vocab.spec, options, common, budget);
  const { refine, outputs } = settings;
  const classes = classCount(vocab.spec);
  const tiles = geometry.boxes.length / 4;
  const batch = Math.min(tiles, windowGroup);
  const tokens = geometry.grid[0] * geometry.grid[1];
  const [mapRows, mapColumns] = geometry.mapGrid ?? geometry.grid;
  const cells = mapRows * mapColumns;
  const { width: channels, patch, embed } = model.info.sizes;
  const features = tiles * cells * embed * 4;
  // A window group at its widest: patch rows, residual streams, norms, queries to values, the MLP's hidden layer, packed operands.
  const encode = batch * (tokens + 1) * 4 * (6 * patch * patch + 20 * channels);
  const maps = Math.min(tiles * cells * vocab.spec.prompts.length * 4, budget / 4);
  const readOut = ReadOut.bytes(settings, classes, vocab.spec.prompts.length, width, height) + maps;
  const picture = width * height * 3 + geometry.canvas.width * geometry.canvas.height * 3;
  const deviceBytes = Math.ceil(sizeClasses * (picture + features + Math.max(encode, readOut)));
  const planes =
    1 + (outputs.margin ? 1 : 0) + (outputs.entropy ? 1 : 0) + 2 * outputs.topk + (outputs.probabilities ? classes : 0);
  const hostBytes = width * height * (3 + 4 + (classes > 255 ? 2 : 1) + 4 * planes);
  return {
    deviceBytes,
    hostBytes,
    tiles,
    batch,
    fits: deviceBytes <= budget,
    route:
      refine.kind === 'crf'
        ? 'crf-volume'
        : outputs.probabilities
          ? 'volume'
          : refine.kind === 'pamr'
            ? 'pamr-bands'
            : 'running-best',
  };
}

/** @throws E_USAGE */
export function checkSize(width: number, height: number): void {
  for (const [name, value] of [
    ['width', width],
    ['height', height],
  ] as const) {
    if (!Number.isInteger(value) || value < 1 || value > 65535)
      throw new WordmaskError('E_USAGE', `plan: ${name} must be a whole number from 1 to 65535, got ${show(value)}`);
  }
}
