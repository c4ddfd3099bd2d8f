/**
 * The recurrence (clip-as-rnn.md section 2; car.py): proposals for all texts, scores of the pictures they are drawn into, texts
 * under the threshold leave, until their number stays. Only the texts carry over from round to round.
 */

/** What a round does with the texts that are left. */
export interface Round {
  /** Indices of the texts that are left, into those of the call. */
  readonly texts: readonly number[];
  /** Kept indices into the texts of the round before, for each round so far: as many as there were rounds. */
  readonly history: readonly (readonly number[])[];
}

export interface RoundResult {
  /** Map of each text of the round, in its order. */
  readonly maps: readonly Float32Array[];
  /** Score of each text of the round. */
  readonly scores: readonly number[];
}

export interface LoopResult {
  /** Texts of the last round, all of which it kept. */
  readonly texts: readonly number[];
  readonly scores: readonly number[];
  /** Their maps, of the last round that found anything; undefined: the first one found nothing, and no other was run. */
  readonly maps: readonly Float32Array[] | undefined;
}

/**
 * Runs rounds until as many texts are kept as in the round before. At least one text is always left and at least two rounds are
 * run; maps that are all zero give way to those of the round before.
 */
export async function recur(
  count: number,
  threshold: number,
  run: (round: Round) => Promise<RoundResult>,
): Promise<LoopResult> {
  let texts = Array.from({ length: count }, (_, i) => i);
  let found = new Map<number, Float32Array>();
  const history: number[][] = [];
  for (let last = 0; ; ) {
    const { maps, scores } = await run({ texts, history });
    const kept = keptTexts(scores, threshold);
    if (maps.some((map) => map.some((value) => value > 0)))
      found = new Map(texts.map((text, i) => [text, maps[i] as Float32Array]));
    history.push(kept);
    texts = kept.map((i) => texts[i] as number);
    const left = { texts, scores: kept.map((i) => scores[i] as number) };
    if (found.size === 0) return { ...left, maps: undefined };
    if (kept.length === last) return { ...left, maps: texts.map((text) => found.get(text) as Float32Array) };
    last = kept.length;
  }
}

/** Indices with a score above the threshold, at least the best one. */
export function keptTexts(scores: readonly number[], threshold: number): number[] {
  const kept = scores.flatMap((score, i) => (score > threshold ? [i] : []));
  if (kept.length > 0) return kept;
  return [scores.indexOf(scores.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY))];
}
