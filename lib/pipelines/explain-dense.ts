/** Maps of words on image features: the read-out of `segment`, of one word at a time. */

import type { DenseOptions } from '../post/dense-options.js';
import { ReadOut, type ReadOutSettings } from '../post/read-out.js';
import { WordmaskError } from '../util/errors.js';
import type { DenseModel } from './dense-model.js';
import type { ExplainRequest } from './explain-request.js';
import { Explanation } from './explanation.js';
import type { Features } from './features.js';
import { provenanceOf, stopwatch } from './result.js';
import { readBands, requireFinite, TimedFeatures } from './segment.js';
import { type CheckedOptions, refineOf } from './segment-options.js';
import { classCount, readOutSettings, refuseVolume } from './settings.js';
import { toTensor } from './text-features.js';
import { queriesOf, type Vocabulary } from './vocabulary.js';

type Common = CheckedOptions['common'];

/** Without background, and without a refiner unless the call names one. */
function mapSettings(model: DenseModel, vocab: Vocabulary, options: DenseOptions, common: Common): ReadOutSettings {
  const settings = readOutSettings(vocab.spec, options, common, model.parts.budget);
  return {
    ...settings,
    refine: common.refine === undefined ? { kind: 'none' } : refineOf(common.refine, options),
    threshold: 0,
    margin: 0,
    background: -1,
  };
}

/** @throws E_OPTION for a refiner that needs competing labels, E_MEMORY_PLAN where it does not fit */
export function refuseMaps(
  model: DenseModel,
  { vocab, alone }: ExplainRequest,
  options: DenseOptions,
  common: Common,
  width: number,
  height: number,
): void {
  const settings = mapSettings(model, vocab, options, common);
  if (alone && settings.refine.kind === 'crf')
    throw new WordmaskError(
      'E_OPTION',
      "explain: refine 'crf' works on probabilities of labels that compete, and a word alone has none: give vocabulary, or take refine 'pamr'",
      { details: { option: 'refine', value: common.refine } },
    );
  refuseVolume(settings, vocab.spec, width, height);
}

export async function explainFeatures(
  model: DenseModel,
  features: Features,
  request: ExplainRequest,
  options: DenseOptions,
  common: Common,
  timings: Readonly<Record<string, number>>,
): Promise<Explanation[]> {
  const { vocab, asked, alone } = request;
  const shared: Record<string, number> = { ...timings };
  const clock = stopwatch(shared);
  const text = await model.compile(vocab, options);
  clock('text');
  const inherited = [...(features instanceof TimedFeatures ? features.warnings : []), ...text.warnings];
  const settings = mapSettings(model, vocab, options, common);
  const found: Explanation[] = [];
  for (const index of asked) {
    common.signal?.throwIfAborted();
    const own: Record<string, number> = { ...shared };
    const lap = stopwatch(own);
    const warnings = [...inherited];
    const data = await readBands(warnings, settings.budget, settings.refine.kind === 'crf', (budget) =>
      readMap(model, features, request, index, text.rows, { ...settings, budget }),
    );
    lap(settings.refine.kind === 'none' ? 'match' : 'refine');
    const { refine } = settings;
    const words = alone ? vocab.subset([vocab.labels[index]?.name as string]) : vocab;
    found.push(
      await Explanation.of({
        data,
        width: features.width,
        height: features.height,
        label: vocab.labels[index] as Vocabulary['labels'][number],
        values: alone ? 'similarity' : 'probability',
        against: alone ? undefined : vocab,
        timings: own,
        warnings,
        provenance: provenanceOf(model.info, words, features.imageHash, common, { ...options, refine }),
        image: common.keepImage === false ? undefined : features.hostPixels,
        signal: common.signal,
      }),
    );
  }
  return found;
}

/**
 * The map of one label [H, W]. Alone: the best similarity of its prompts. Against others: its probability, which is that of the
 * winner where no other label may win.
 */
async function readMap(
  model: DenseModel,
  features: Features,
  { vocab, alone }: ExplainRequest,
  index: number,
  rows: readonly Float32Array[],
  settings: ReadOutSettings,
): Promise<Float32Array> {
  const { embed, system } = model.parts;
  const all = queriesOf(vocab.spec, rows, embed);
  const own = alone ? [...all.classOf.keys()].filter((i) => all.classOf[i] === index) : [...all.classOf.keys()];
  const classes = classCount(vocab.spec);
  const others = Array.from({ length: classes }, (_, i) => i).filter((i) => i !== index);
  const text = toTensor(
    own.map((i) => all.rows[i] as Float32Array),
    embed,
  );
  try {
    await requireFinite(text, 'the text features');
    const planes = await new ReadOut(
      // Refinements of maps weigh words against each other; a word alone would come out the same everywhere.
      alone ? { ...system, refines: () => false } : system,
      features.dense,
      {
        text,
        classOf: alone ? new Int32Array(own.length) : all.classOf,
        classes: alone ? 1 : classes,
      },
      {
        ...settings,
        outputs: { ...settings.outputs, logit: alone },
        ...(!alone && { excluded: new Set(others) }),
      },
      () => features.image,
    ).run();
    return alone ? (planes.logit as Float32Array) : planes.score;
  } finally {
    text.dispose();
  }
}
