/** Pairs to arrays: the patches that a step sees of each picture, token ids, which nouns a caption names. */
import { trainRows } from '../../backbones/clip/index.js';
import type { PairSample, StepContext } from '../../nn/trainable.js';
import { fillTemplate, type NounFinder, type Tokenizer } from '../../text/index.js';
import type { Random } from '../../util/random.js';
import { labelsOfPatches } from './train-labels.js';
import type { ClipTrainLosses, NounWords } from './train-options.js';

/** Everything that `prepare` needs and that stays the same over a run. */
export interface BatchPlan {
  readonly image: number;
  readonly patch: number;
  readonly context: number;
  readonly patches: number;
  readonly allPatchesFrom: number;
  readonly tokenizer: Tokenizer;
  readonly nounPatch?: ClipTrainLosses['nounPatch'];
  readonly finder?: NounFinder;
  readonly patchLabels?: ClipTrainLosses['patchLabels'];
}

/** Arrays of a batch: B pairs, K patches, L and M tokens, Q nouns. */
export type ClipBatch = {
  /** Normalised patch values [B, K, 3*p*p]: f32, or bf16 patterns. */
  readonly rows: { data: Float32Array | Uint16Array; shape: readonly number[] };
  /** Which patch each row is [B, K]. */
  readonly places: { data: Int32Array; shape: readonly number[] };
  readonly ids: { data: Int32Array; shape: readonly number[] };
  readonly ends: { data: Int32Array; shape: readonly number[] };
  readonly nounIds?: { data: Int32Array; shape: readonly number[] };
  readonly nounEnds?: { data: Int32Array; shape: readonly number[] };
  /** 1 where the caption names the noun [B, Q]. */
  readonly named?: { data: Float32Array; shape: readonly number[] };
  /** Words of the classes [C, M], and the class of each patch [B * K]. */
  readonly classIds?: { data: Int32Array; shape: readonly number[] };
  readonly classEnds?: { data: Int32Array; shape: readonly number[] };
  readonly labels?: { data: Int32Array; shape: readonly number[] };
};

export async function prepareBatch(
  samples: readonly PairSample[],
  plan: BatchPlan,
  context: StepContext,
): Promise<ClipBatch> {
  const captionRandom = context.random.fork('caption');
  const captions = samples.map(({ captions }) => captionRandom.pick(captions));
  const seen = context.step < plan.allPatchesFrom * context.steps ? plan.patches : 1;
  const { ids, ends } = encode(plan.tokenizer, captions, plan.context);
  const pictures = await trainRows(samples, plan, seen, context);
  return {
    ...pictures,
    ids,
    ends,
    ...(plan.patchLabels && {
      ...classArrays(plan.patchLabels, plan, context.random.fork('classes')),
      labels: labelsOfPatches(samples, plan, pictures.places.data, plan.patchLabels.nouns.length),
    }),
    ...(plan.nounPatch && nounArrays(captions, plan, context.random.fork('nouns'))),
  };
}

/** Ids [T, L] as long as the longest text, padded behind its end, and the place of each end token. */
export function encode(tokenizer: Tokenizer, texts: readonly string[], context: number) {
  const rows = tokenizer.encode(texts, { maxLength: context });
  const length = Math.max(...rows.map((row) => row.length));
  const data = new Int32Array(rows.length * length).fill(tokenizer.padId);
  rows.forEach((row, i) => data.set(row, i * length));
  const ends = Int32Array.from(rows, (row) => row.length - 1);
  return { ids: { data, shape: [rows.length, length] }, ends: { data: ends, shape: [rows.length] } };
}

function nounArrays(captions: readonly string[], plan: BatchPlan, random: Random) {
  const terms = plan.nounPatch as NonNullable<BatchPlan['nounPatch']>;
  const { nouns } = terms;
  const { ids, ends } = encode(plan.tokenizer, nounPrompts(terms, random), plan.context);
  const named = new Float32Array(captions.length * nouns.length);
  captions.forEach((caption, b) => {
    for (const noun of (plan.finder as NounFinder).find(caption)) named[b * nouns.length + noun] = 1;
  });
  return { nounIds: ids, nounEnds: ends, named: { data: named, shape: [captions.length, nouns.length] } };
}

function classArrays(terms: NounWords, plan: BatchPlan, random: Random) {
  const { ids, ends } = encode(plan.tokenizer, nounPrompts(terms, random), plan.context);
  return { classIds: ids, classEnds: ends };
}

/** Each noun, or another word for it, in one of the templates. */
function nounPrompts({ nouns, templates, synonyms }: NounWords, random: Random): string[] {
  return nouns.map(({ name, words }) => {
    const others = words.filter((word) => word !== name);
    const word = others.length > 0 && random.chance(synonyms) ? random.pick(others) : name;
    return fillTemplate(random.pick(templates), word);
  });
}
