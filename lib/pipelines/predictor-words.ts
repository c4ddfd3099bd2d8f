/** Words of a call as a system that predicts by itself takes them, and its channels as planes of the vocabulary's labels. */
import { scope, scoreInit, scoreUpdate, softmax, sync, Tensor } from '../engine/index.js';
import { bandBytes, statePlanes } from '../post/bands.js';
import { type FinishSettings, HostPlanes } from '../post/host-planes.js';
import type { Prediction, PredictorWords } from '../post/predictor.js';
import type { Planes } from '../post/read-out.js';
import { parseBackground } from '../text/background.js';
import type { VocabularySpec } from '../text/index.js';
import { show, WordmaskError } from '../util/errors.js';
import { inSlices } from '../util/slices.js';
import type { CheckedOptions } from './segment-options.js';
import { classCount, markedLabel } from './settings.js';

type Common = CheckedOptions['common'];

/** @throws E_OPTION when the call's `labels` have no words to look for */
export function wordsOf(spec: VocabularySpec, common: Common): PredictorWords {
  const { mode } = common.background === undefined ? spec.background : parseBackground(common.background);
  const named = common.labels && [...new Set(common.labels.map((name) => spec.indexOf(name)))];
  const searched = (index: number): boolean => {
    const label = spec.labels[index];
    return label !== undefined && !label.background && label.prompts.length > 0;
  };
  const chosen = (named ?? [...spec.labels.keys()]).filter(searched);
  if (common.labels && chosen.length === 0)
    throw new WordmaskError(
      'E_OPTION',
      `labels: ${common.labels.map((name) => show(name)).join(', ')} have no words of their own to look for: name another label of the vocabulary`,
      { details: { option: 'labels', value: common.labels } },
    );
  return {
    labels: spec.labels,
    chosen,
    backgroundPrompts: spec.background.mode === 'prompts' ? spec.background.prompts : [],
    ensemble: spec.ensemble,
    background: mode,
  };
}

/** Planes of a prediction, and how background is decided over its channels. */
export function finishSettings(spec: VocabularySpec, common: Common): FinishSettings {
  const outputs = common.outputs ?? [];
  const policy = common.background === undefined ? spec.background : parseBackground(common.background);
  return {
    // The channels' softmax is their probability as it is.
    options: { logitScale: 1 },
    threshold: common.threshold ?? (policy.mode === 'threshold' ? policy.value : 0),
    margin: common.threshold === undefined && policy.mode === 'margin' ? policy.value : 0,
    background: markedLabel(spec, common),
    outputs: {
      margin: outputs.includes('margin'),
      entropy: outputs.includes('entropy'),
      topk: outputs.includes('topk') ? Math.min(common.k ?? 5, classCount(spec)) : 0,
    },
  };
}

/** Class of each channel: the label that background pixels get, or one behind all labels, which is none of them. */
function classesOf(prediction: Prediction, spec: VocabularySpec, background: number): Int32Array {
  const hidden = background >= 0 ? background : spec.labels.length;
  return Int32Array.from(prediction.channels, (index) => (index < 0 ? hidden : index));
}

/** @throws E_NUMERIC naming the first pixel whose scores are not finite */
export async function planesOf(
  prediction: Prediction,
  spec: VocabularySpec,
  settings: FinishSettings,
  wantsVolume: boolean,
): Promise<Planes> {
  const { logits } = prediction;
  const [channels = 0, height = 0, width = 0] = logits.shape;
  const classes = classesOf(prediction, spec, settings.background);
  const host = new HostPlanes(width, height, settings);
  const { margin, entropy, topk } = settings.outputs;
  const flags = { scale: 1, second: margin || settings.margin > 0, moment: entropy, topk };
  const rowBytes = width * 4 * (statePlanes(settings) + channels);
  const band = Math.max(1, Math.floor(bandBytes / rowBytes));
  for (let row = 0; row < height; row += band) {
    const rows = Math.min(band, height - row);
    await scope(async () => {
      const part = rows === height ? logits : logits.slice(1, row, row + rows).contiguous(); // [C, rows, W]
      await host.take(scoreUpdate(scoreInit(rows, width, topk), part, Tensor.from(classes), flags), row, rows);
      await sync();
    });
  }
  const planes = host.planes();
  return wantsVolume ? { ...planes, probabilities: await labelVolume(prediction, spec, classes) } : planes;
}

/** Probabilities of all labels [Q, H, W]: a label without a channel has none; of several channels their sum. */
export async function labelVolume(
  prediction: Prediction,
  spec: VocabularySpec,
  classes = classesOf(prediction, spec, spec.backgroundIndex),
): Promise<Float32Array> {
  const { logits } = prediction;
  const pixels = (logits.shape[1] as number) * (logits.shape[2] as number);
  const shares = await scope(async () => (await softmax(logits, 0).data()) as Float32Array);
  const volume = new Float32Array(spec.labels.length * pixels);
  for (const [channel, label] of classes.entries()) {
    if (label >= spec.labels.length) continue;
    await inSlices(pixels, 1 << 18, (begin, end) => {
      for (let i = begin; i < end; i++)
        volume[label * pixels + i] = (volume[label * pixels + i] as number) + (shares[channel * pixels + i] as number);
    });
  }
  return volume;
}

/**
 * The method's own numbers: 0 is background, then the labels in the vocabulary's order from 1, those that stand for background left
 * out (the numbers of the published data sets where the vocabulary is the data set's list).
 */
export function methodLabels(planes: Planes, spec: VocabularySpec): Uint16Array {
  let next = 1;
  const numbers = spec.labels.map((label) => (label.background ? 0 : next++));
  return Uint16Array.from(planes.labels, (label) => numbers[label] ?? 0);
}
