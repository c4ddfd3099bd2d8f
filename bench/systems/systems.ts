/** Whole calls: encode of one window, text, a segment call with each refiner. Needs a CLIP folder (`--model`). */
import { open } from '#lib/pipelines/open.js';
import { print, time } from '../harness.js';

function picture(width: number, height: number): { data: Uint8Array; width: number; height: number; channels: 3 } {
  const data = new Uint8Array(width * height * 3);
  for (let i = 0; i < data.length; i++) data[i] = (i * 2654435761) >>> 24;
  return { data, width, height, channels: 3 };
}

export async function benchSystems(options: {
  model: string;
  threads: readonly number[];
  seconds: number;
  device: string;
}): Promise<void> {
  if (!options.model) {
    print({ name: 'systems', skipped: 'name a CLIP folder with --model DIR' });
    return;
  }
  for (const dtype of ['fp32', 'bf16']) {
    for (const threads of options.device === 'cpu' ? options.threads : [1]) {
      const model = await open(`naclip:${options.model}`, { dtype, threads, device: options.device });
      const vocabulary = await model.vocabulary(['cat', 'dog', 'grass', 'sky', 'person', 'car', 'tree'], {
        templates: 'photo',
      });
      const native = model.info.sizes.patch === 14 ? 336 : 224;
      const window = picture(native, native);
      const one = { shortSide: native, crop: 0 };
      const encode = await time(async () => (await model.encode(window, one)).dispose(), {
        seconds: Math.max(2, options.seconds),
        least: 7,
      });
      print({
        name: 'encode',
        case: `one ${native} window`,
        dtype,
        threads,
        device: options.device,
        median_ms: encode.median,
        best_ms: encode.best,
        runs: encode.runs,
        'images/s': 1000 / encode.median,
      });
      for (const refine of ['none', 'pamr', 'crf'] as const) {
        const photo = picture(500, 375);
        const whole = await time(async () => void (await model.segment(photo, vocabulary, { refine })), {
          seconds: 2,
          least: 3,
          warmup: 1,
        });
        print({
          name: 'segment',
          case: `500x375, 7 labels, refine ${refine}`,
          dtype,
          threads,
          device: options.device,
          median_ms: whole.median,
          best_ms: whole.best,
          runs: whole.runs,
        });
      }
      await model.dispose();
    }
  }
}
