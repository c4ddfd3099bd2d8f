/** Dense CRF on the photographs of the reference data, beside the reference's seconds and the cost formulas. */
import { readFileSync } from 'node:fs';
import { scope, sync, Tensor } from '#lib/engine/index.js';
import { decodeImage } from '#lib/image/decode.js';
import { denseCrf } from '#lib/post/dense-crf.js';
import { parseNpy } from '#lib/weights/npy.js';
import { data, dataFolder } from '../../test/helpers/data.js';
import { fromF16 } from '../../test/helpers/samples.js';
import { print } from '../harness.js';
import { measure, type Place } from './measure.js';

interface CrfCase {
  readonly width: number;
  readonly height: number;
  readonly classes: number;
  readonly params: Record<
    'gaussian' | 'bilateral',
    { sx: number; sy: number; sr: number; sg: number; sb: number; compat: number }
  >;
  readonly reference_seconds_single_thread: Record<
    string,
    Record<string, { build_lattices_s: number; inference_s: number }>
  >;
}

/** Vertices a pixel of both lattices, by case: dense-crf.md section 10. */
const verticesPerPixel = { 'voc-500x375-21': [0.131, 0.075], 'small-320x240-5': [0.131, 1.1] } as const;

/**
 * Bytes of the mean field steps (dense-crf.md section 10). `memory`: what must come from memory; `logical`: all gathers of
 * splat, blur and slice, which the caches serve.
 */
export function crfBytes(
  pixels: number,
  classes: number,
  iterations: number,
  lattices: readonly { dims: number; vertices: number }[],
): { memory: number; logical: number } {
  const padded = classes > 8 ? Math.ceil(classes / 8) * 8 : Math.ceil(classes / 4) * 4;
  let [memory, logical] = [12 * pixels * padded, 0];
  for (const { dims, vertices } of lattices) {
    memory += 16 * pixels * (dims + 1);
    logical += 8 * pixels * (dims + 1) * padded + 8 * vertices * padded + 16 * (dims + 1) * vertices * padded;
  }
  return { memory: memory * iterations, logical: logical * iterations };
}

export async function benchCrf(threads: number, place: Place): Promise<void> {
  if (!dataFolder) {
    print({ name: 'dense_crf', skipped: 'WORDMASK_TEST_DATA is not set: no photographs' });
    return;
  }
  for (const name of Object.keys(verticesPerPixel) as (keyof typeof verticesPerPixel)[])
    await one(name, threads, place);
}

async function one(name: keyof typeof verticesPerPixel, threads: number, place: Place): Promise<void> {
  const spec = JSON.parse(readFileSync(data('crf', name, 'case.json'), 'utf8')) as CrfCase;
  const {
    width,
    height,
    classes,
    params: { gaussian: g, bilateral: b },
  } = spec;
  const npy = parseNpy(readFileSync(data('crf', name, 'unary.npy')));
  const values = Float32Array.from(npy.data, npy.type === '<f2' ? fromF16 : (x) => x);
  const picture = await decodeImage(data('crf', name, 'image.png'));
  const reference = Object.values(spec.reference_seconds_single_thread).map((runs) =>
    runs['10'] ? runs['10'].build_lattices_s + runs['10'].inference_s : Number.POSITIVE_INFINITY,
  );
  await scope(async () => {
    const image = Tensor.from(picture.data, [height, width, 3]);
    const unary = Tensor.from(values, [classes, height, width]);
    await sync();
    const [first, second] = verticesPerPixel[name];
    const pixels = width * height;
    const { memory, logical } = crfBytes(pixels, classes, 10, [
      { dims: 2, vertices: first * pixels },
      { dims: 5, vertices: second * pixels },
    ]);
    const extra = {
      'formula memory GB': memory / 1e9,
      'formula logical GB': logical / 1e9,
      'floor ms at copy rate': memory / 1e6 / place.peaks.copy,
      'reference ms (its own core)': Math.min(...reference) * 1000,
    };
    await measure(
      {
        name: 'dense_crf',
        case: `${name}, 10 iterations`,
        shapes: [`${classes}x${height}x${width}`],
        dtype: 'f32',
        threads,
        bytes: logical,
        extra,
      },
      place,
      () =>
        denseCrf(image, unary, {
          iterations: 10,
          gaussian: { sxy: [g.sx, g.sy], compat: g.compat },
          bilateral: { sxy: [b.sx, b.sy], srgb: [b.sr, b.sg, b.sb], compat: b.compat },
        }),
    );
  });
}
