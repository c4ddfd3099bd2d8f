/** From checked options to what the read-out runs with; shared by `segment` and `plan`. */
import type { DenseOptions } from '../post/dense-options.js';
import { ReadOut, type ReadOutSettings } from '../post/read-out.js';
import { parseBackground } from '../text/background.js';
import type { VocabularySpec } from '../text/index.js';
import { WordmaskError } from '../util/errors.js';
import { backgroundRule, type CheckedOptions, refineOf } from './segment-options.js';
import type { Vocabulary } from './vocabulary.js';

/** Classes of a vocabulary as the read-out counts them: its labels, and the hidden one of the background policy `prompts`. */
export function classCount(spec: VocabularySpec): number {
  return spec.labels.length + (spec.owners.some((owner) => owner >= spec.labels.length) ? 1 : 0);
}

/**
 * Classes that the area rule leaves alone: the label marked as background, else the first, which the published class lists give
 * that meaning; and the hidden class of background words.
 */
export function backgroundClasses(spec: VocabularySpec): ReadonlySet<number> {
  return new Set([Math.max(0, spec.backgroundIndex), spec.labels.length]);
}

/** The vocabulary under the call's own background policy, where that changes which words take part. */
export function underPolicy(vocab: Vocabulary, common: CheckedOptions['common']): Vocabulary {
  if (common.background === undefined) return vocab;
  const policy = parseBackground(common.background);
  return [policy, vocab.spec.background].some(({ mode }) => mode === 'prompts')
    ? vocab.configure({ background: policy })
    : vocab;
}

/** The label that background pixels get: the marked one, unless the call is restricted to others. */
export function markedLabel(spec: VocabularySpec, common: CheckedOptions['common']): number {
  const index = spec.backgroundIndex;
  return index < 0 || !common.labels || common.labels.some((name) => spec.indexOf(name) === index) ? index : -1;
}

export function readOutSettings(
  spec: VocabularySpec,
  options: DenseOptions,
  common: CheckedOptions['common'],
  budget: number,
): ReadOutSettings {
  const outputs = common.outputs ?? [];
  return {
    options,
    refine: refineOf(common.refine, options),
    ...backgroundRule(spec.background, common, options, markedLabel(spec, common)),
    outputs: {
      margin: outputs.includes('margin'),
      entropy: outputs.includes('entropy'),
      probabilities: outputs.includes('probabilities'),
      topk: outputs.includes('topk') ? Math.min(common.k ?? 5, classCount(spec)) : 0,
    },
    budget,
    tileRows: typeof common.tile === 'number' ? common.tile : undefined,
  };
}

/**
 * Refuses what needs all classes over all pixels and does not fit, before anything is computed.
 * @throws E_MEMORY_PLAN with the bytes needed and the budget
 */
export function refuseVolume(settings: ReadOutSettings, spec: VocabularySpec, width: number, height: number): void {
  const { refine, outputs, budget } = settings;
  if (refine.kind !== 'crf' && !outputs.probabilities) return;
  const classes = classCount(spec);
  const needed = ReadOut.bytes(settings, classes, spec.prompts.length, width, height);
  if (needed <= budget) return;
  const [what, instead] =
    refine.kind === 'crf'
      ? ["refine 'crf' couples", "use refine 'pamr' or 'none'"]
      : ["output 'probabilities' holds", 'ask for score or topk'];
  throw new WordmaskError(
    'E_MEMORY_PLAN',
    `${what} all ${classes} labels over ${width} x ${height} pixels and would need ${needed} bytes; the budget is ${budget}: ${instead}, take fewer labels or a smaller picture, or raise \`memory\``,
    { details: { needed, limit: budget } },
  );
}
