/** Pairs to arrays: the patches that a step sees of each picture, token ids, and the noise from which wrong pairs are drawn. */
import { trainRows } from '../../backbones/clip/index.js';
import { negativeNoise } from '../../nn/losses/index.js';
import type { PairSample, StepContext } from '../../nn/trainable.js';
import type { NounFinder, Tokenizer } from '../../text/index.js';
import { WordmaskError } from '../../util/errors.js';
import type { Random } from '../../util/random.js';
import type { NounLists } from './train-options.js';

/** Everything that `prepare` needs and that stays the same over a run. */
export interface BatchPlan {
  readonly image: number;
  readonly patch: number;
  readonly context: number;
  readonly patches: number;
  readonly allPatchesFrom: number;
  readonly tokenizer: Tokenizer;
  readonly lists?: NounLists & { readonly finder: NounFinder };
}

/** Arrays of a batch: B pairs, K patches, L tokens. */
export type BlipBatch = Awaited<ReturnType<typeof trainRows>> & {
  /** With [CLS] at position 0, padded behind the end token [B, L]. */
  readonly ids: { readonly data: Int32Array; readonly shape: readonly number[] };
  /** Tokens of each text [B]. */
  readonly lengths: { readonly data: Int32Array; readonly shape: readonly number[] };
  /** Of `negativeNoise` [2, B, B]. */
  readonly noise: { readonly data: Float32Array; readonly shape: readonly number[] };
};

/** @throws E_OPTION for a single pair: nothing could be wrong in it */
export async function prepareBatch(
  samples: readonly PairSample[],
  plan: BatchPlan,
  context: StepContext,
): Promise<BlipBatch> {
  const size = samples.length;
  if (size < 2)
    throw new WordmaskError('E_OPTION', `blip: batch must be 2 or more, got ${size}: wrong pairs come from the batch`, {
      details: { option: 'batch', value: size },
    });
  const captionRandom = context.random.fork('caption');
  const chosen = samples.map(({ captions }) => captionRandom.pick(captions));
  const captions = plan.lists ? withLists(chosen, plan.lists, context.random.fork('lists')) : chosen;
  const seen = context.step < plan.allPatchesFrom * context.steps ? plan.patches : 1;
  const pictures = await trainRows(samples, plan, seen, context);
  // The same words are true of both pictures, and a picture of both texts that were drawn for it.
  const same = (i: number, j: number) => captions[i] === captions[j] || samples[i]?.key === samples[j]?.key;
  return {
    ...pictures,
    ...encode(plan.tokenizer, captions, plan.context),
    noise: { data: negativeNoise(size, context.random.fork('negatives'), same), shape: [2, size, size] },
  };
}

/** Ids as long as the longest text, and the tokens of each. */
export function encode(
  tokenizer: Tokenizer,
  texts: readonly string[],
  context: number,
): Pick<BlipBatch, 'ids' | 'lengths'> {
  const rows = tokenizer.encode(texts, { maxLength: context });
  const length = Math.max(...rows.map((row) => row.length));
  const data = new Int32Array(rows.length * length).fill(tokenizer.padId);
  rows.forEach((row, i) => {
    data.set(row, i * length);
  });
  const lengths = Int32Array.from(rows, (row) => row.length);
  return { ids: { data, shape: [rows.length, length] }, lengths: { data: lengths, shape: [rows.length] } };
}

/** Some captions replaced by the list of the nouns that they name, in any order. */
function withLists(captions: readonly string[], lists: NonNullable<BatchPlan['lists']>, random: Random): string[] {
  return captions.map((caption) => {
    if (!random.chance(lists.share)) return caption;
    const words = lists.finder.find(caption).map((index) => {
      const { name, words: all } = lists.nouns[index] as { name: string; words: readonly string[] };
      const others = all.filter((word) => word !== name);
      return listWord(others.length > 0 && random.chance(lists.synonyms) ? random.pick(others) : name);
    });
    return words.length === 0 ? caption : [lists.prefix, ...random.shuffle(words)].join(' ');
  });
}

/** A single word, as in the captions of PnP-OVSS: there a blank begins another noun. */
function listWord(word: string): string {
  return word.replace(/[\s\p{Pd}]+/gu, '');
}

/** Words that lists hold, for the vocabulary. */
export function listTexts({ nouns, prefix }: NounLists): string[] {
  return nouns.map(({ name, words }) => [prefix, ...new Set([name, ...words].map(listWord))].join(' '));
}
