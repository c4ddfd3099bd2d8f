/** Named intermediate values of a system that predicts by itself: the code of `segment`, keeping what was asked for. */
import type { Tensor } from '../engine/index.js';
import type { DecodedImage, ImageInput } from '../image/decode.js';
import type { Trace } from '../post/read-out.js';
import { show, WordmaskError } from '../util/errors.js';
import { nearest } from '../util/nearest.js';

import type { HostValue } from './parts.js';
import { hostPicture } from './picture.js';
import type { PredictorCall, PredictorModel } from './predictor-model.js';
import { finishSettings, labelVolume, methodLabels, planesOf } from './predictor-words.js';

/** What the pipeline itself adds to the system's names. */
export const predictorTraces = ['class_probabilities', 'max_probability', 'label_map'] as const;

export async function tracePrediction(
  model: PredictorModel,
  call: PredictorCall,
  image: ImageInput,
  names: readonly string[],
): Promise<Record<string, HostValue>> {
  const { common, options } = call;
  const wanted = new Map(names.map((name) => [name, resolveName(model, name, options)]));
  const decoded = await hostPicture(image, model.info.device, common);
  const found = await model.inTurn(decoded, call, () => collect(model, call, decoded, new Set(wanted.values())));
  const values: Record<string, HostValue> = {};
  for (const [name, canonical] of wanted) {
    const value = found.get(canonical);
    if (!value)
      throw new WordmaskError('E_OPTION', `trace: '${name}' does not arise under these options and words`, {
        details: { name },
      });
    values[name] = value;
  }
  return values;
}

function resolveName({ parts, info }: PredictorModel, name: string, options: object): string {
  const common = name === 'labels' ? 'label_map' : name;
  const canonical = info.traces.includes(common) ? common : (parts.predictor.traceAlias?.(name, options) ?? common);
  if (info.traces.includes(canonical)) return canonical;
  const guess = nearest(canonical, info.traces);
  throw new WordmaskError(
    'E_OPTION',
    `trace: unknown value ${show(name)}${guess ? `, did you mean '${guess}'?` : ''} (known: ${info.traces.join(', ')})`,
    { details: { name } },
  );
}

async function collect(
  model: PredictorModel,
  call: PredictorCall,
  image: DecodedImage,
  wanted: ReadonlySet<string>,
): Promise<Map<string, HostValue>> {
  const found = new Map<string, HostValue>();
  const pending: Promise<void>[] = [];
  const trace: Trace = {
    wants: (name) => wanted.has(name),
    put: (name, tensor) => {
      if (!wanted.has(name)) return;
      const reading = keep(found, name, tensor);
      // Awaited below; until then a failure must not pass for one that nobody handles.
      reading.catch(() => undefined);
      pending.push(reading);
    },
  };
  const { vocab, words, options, common } = call;
  try {
    const context = model.context(call, () => undefined, [], trace);
    const prediction = await model.parts.predictor.predict(image, words, options, context);
    const shape = [image.height, image.width];
    if (predictorTraces.some((name) => wanted.has(name))) {
      // The method's own numbers have no label for background: 0 is nobody's.
      const settings = { ...finishSettings(vocab.spec, common), background: -1 };
      const planes = await planesOf(prediction, vocab.spec, settings, false);
      found.set('label_map', { data: methodLabels(planes, vocab.spec), shape });
      found.set('max_probability', { data: planes.score, shape });
    }
    if (wanted.has('class_probabilities'))
      found.set('class_probabilities', {
        data: await labelVolume(prediction, vocab.spec),
        shape: [vocab.labels.length, ...shape],
      });
    await Promise.all(pending);
  } finally {
    await Promise.allSettled(pending);
  }
  return found;
}

async function keep(found: Map<string, HostValue>, name: string, tensor: Tensor): Promise<void> {
  found.set(name, await tensor.toArray());
}
