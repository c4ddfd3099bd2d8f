/** Maps of words from a system that predicts by itself. */
import { scope } from '../engine/index.js';
import type { ImageInput } from '../image/decode.js';
import type { PredictorWords } from '../post/predictor.js';
import { show, WordmaskError } from '../util/errors.js';
import type { ExplainRequest } from './explain-request.js';
import { Explanation } from './explanation.js';
import { hostPicture } from './picture.js';
import type { PredictorCall, PredictorModel } from './predictor-model.js';
import { stopwatch } from './result.js';
import { withRetreat } from './retreat.js';
import type { CheckedOptions } from './segment-options.js';
import type { Vocabulary } from './vocabulary.js';

/** One run of the method, and the labels whose maps it gives. */
export interface ExplainCall {
  readonly call: PredictorCall;
  readonly asked: readonly number[];
}

/** @throws E_OPTION for a system that has no maps of words */
export function requireExplain({ parts, info }: PredictorModel): void {
  if (!parts.predictor.explain) throw noMaps(info.system);
}

function noMaps(system: string): WordmaskError {
  return new WordmaskError(
    'E_OPTION',
    `${system} cannot explain: it has no map of a word beside its label map; use segment with outputs ['probabilities']`,
    { details: { system } },
  );
}

/** @throws E_LABEL for a label that stands for background: the method does not look for it */
export function requireSearched({ chosen, labels }: PredictorWords, asked: readonly number[], system: string): void {
  const other = asked.find((label) => !chosen.includes(label));
  if (other !== undefined)
    throw new WordmaskError(
      'E_LABEL',
      `${show(labels[other]?.name)} stands for background, which ${system} does not look for: name another label`,
    );
}

/** A word alone competes with no words of a background policy. */
export function explainWords(words: PredictorWords, alone: boolean): PredictorWords {
  return alone ? { ...words, backgroundPrompts: [], background: 'auto' } : words;
}

export async function explainPicture(
  model: PredictorModel,
  calls: readonly ExplainCall[],
  request: ExplainRequest,
  image: ImageInput,
  common: CheckedOptions['common'],
): Promise<Explanation[]> {
  const started = performance.now();
  const picture = await hostPicture(image, model.info.device, common);
  const decode = performance.now() - started;
  for (const { call } of calls) model.refuse(picture, call);
  const found: Explanation[] = [];
  for (const { call, asked } of calls)
    found.push(
      ...(await model.inTurn(picture, call, () => explainCall(model, picture, { call, asked }, request, decode))),
    );
  return found;
}

async function explainCall(
  model: PredictorModel,
  picture: Awaited<ReturnType<typeof hostPicture>>,
  { call, asked }: ExplainCall,
  { vocab, alone }: ExplainRequest,
  decode: number,
): Promise<Explanation[]> {
  const { words, options, common } = call;
  const timings: Record<string, number> = { decode };
  const clock = stopwatch(timings);
  const warnings: string[] = [];
  const { predictor } = model.parts;
  const run = () =>
    scope(async () => {
      const context = model.context(call, clock, warnings);
      const explained = await predictor.explain?.(picture, words, asked, options, context);
      if (!explained) throw noMaps(model.info.system);
      const { maps, labels, values } = explained;
      const planes = new Map<number, Float32Array>();
      for (const label of asked) {
        const at = labels.indexOf(label);
        planes.set(
          label,
          (await maps
            .slice(0, at, at + 1)
            .contiguous()
            .data()) as Float32Array,
        );
      }
      return { planes, values };
    });
  const { planes, values } = await withRetreat(warnings, 'out of memory: caches freed', run, run);
  clock('output');
  const found: Explanation[] = [];
  for (const label of asked) {
    const known = vocab.labels[label] as Vocabulary['labels'][number];
    found.push(
      await Explanation.of({
        data: planes.get(label) as Float32Array,
        width: picture.width,
        height: picture.height,
        label: known,
        values,
        against: alone ? undefined : vocab,
        timings: { ...timings },
        warnings: [...new Set(warnings)],
        provenance: model.provenance(alone ? { ...call, vocab: vocab.subset([known.name]) } : call, picture.hash),
        image: common.keepImage === false ? undefined : picture,
        signal: common.signal,
      }),
    );
  }
  return found;
}
