/**
 * Training of MGCA's decoder from image-caption pairs (arXiv 2403.03707, sections 3.2-3.3). The CLIP beside it only runs
 * forward; a checkpoint holds the decoder and names that CLIP with the hash of its weights.
 */
import { openClipFolder } from '../../backbones/clip/index.js';
import {
  type AlignmentStats,
  checkpoint,
  concat,
  noGrad,
  requireGrad,
  scope,
  Tensor,
  windowPatches,
} from '../../engine/index.js';
import { type MgcaLossOptions, mgcaFromStats, mgcaLossOptions, mgcaStats } from '../../nn/losses/index.js';
import type { HostBatch, Losses, Trainable, TrainableRequest } from '../../nn/trainable.js';
import { clipMean255, clipStd255, denseOptions, familyDefaults } from '../../post/dense-options.js';
import { NounFinder } from '../../text/index.js';
import { WordmaskError } from '../../util/errors.js';
import { decode, initialDecoder } from './decoder.js';
import { encoderOptions } from './index.js';
import { type MgcaBatch, type MgcaPlan, prepareMgcaBatch } from './train-batch.js';
import { type MgcaTrainModel, parseMgcaModel } from './train-options.js';

type Encoder = Awaited<ReturnType<typeof openClipFolder>>;

/** @throws E_OPTION, as opening the base */
export async function trainMgca(request: TrainableRequest): Promise<Trainable> {
  const model = parseMgcaModel(request.model);
  const losses = mgcaLossOptions(request.losses);
  const { base, compute, signal } = request;
  // A slip in what the finished model shall say must not show after the training.
  denseOptions(familyDefaults, model.readOut.defaults);
  if (base === undefined)
    throw new WordmaskError('E_OPTION', 'mgca: base is missing: name the CLIP whose features the decoder refines', {
      details: { option: 'base' },
    });
  const encoder = await openClipFolder(base, { compute, checkWeights: true, signal });
  try {
    const side = model.image || encoder.config.vision.imageSize;
    const { patch } = encoder.sizes;
    if (side % patch !== 0)
      throw new WordmaskError(
        'E_OPTION',
        `mgca: model.image must be a multiple of the patch size ${patch}, got ${side}`,
        {
          details: { option: 'model.image', value: side },
        },
      );
    const plan: MgcaPlan = {
      ...model,
      side,
      context: encoder.config.text.positions,
      tokenizer: encoder.tokenizer,
      finder: model.nouns && new NounFinder(model.nouns),
    };
    const parameters = initialDecoder(encoder.embed, request.random.fork('weights').bits());
    return new MgcaTrainable(encoder, parameters, plan, losses, model, request.baseName ?? base);
  } catch (error) {
    encoder.dispose();
    throw error;
  }
}

class MgcaTrainable implements Trainable {
  readonly #grid: readonly [number, number];
  readonly #statistics: { readonly mean: readonly number[]; readonly std: readonly number[] };

  constructor(
    private readonly encoder: Encoder,
    readonly parameters: ReadonlyMap<string, Tensor>,
    private readonly plan: MgcaPlan,
    private readonly options: MgcaLossOptions,
    private readonly model: MgcaTrainModel,
    private readonly baseName: string,
  ) {
    for (const tensor of parameters.values()) requireGrad(tensor);
    const cells = plan.side / encoder.sizes.patch;
    this.#grid = [cells, cells];
    this.#statistics = model.normalisation === 'clip' ? { mean: clipMean255, std: clipStd255 } : encoderOptions;
  }

  prepare(...[samples, context]: Parameters<Trainable['prepare']>) {
    return prepareMgcaBatch(samples, this.plan, context);
  }

  losses(batch: HostBatch): Losses {
    const { pixels, ids, lengths } = batch as unknown as MgcaBatch;
    return scope(() => {
      const size = lengths.data.length;
      const text = noGrad(() => this.encoder.encodeIds(rowsOf(ids, lengths.data))); // [B, E]
      const canvas = Tensor.from(pixels.data, pixels.shape, 'u8');
      const starts = parts(size, this.model.imagesAtOnce);
      const found = starts.map(([begin, end]) => {
        const features = this.#features(canvas, begin, end); // [n, P, E]
        if (starts.length === 1) return this.#stats(features, text, begin);
        // The decoder's values are made again in the backward pass, part by part.
        const [regions, cosines, values] = checkpoint(
          (x, words) => {
            const stats = this.#stats(x, words, begin);
            return [stats.regions, stats.cosines, stats.pixels];
          },
          features,
          text,
        ) as [Tensor, Tensor, Tensor];
        return { regions, cosines, pixels: values };
      });
      return { ...mgcaFromStats(joined(found), text, this.options) };
    });
  }

  /** Features of images begin..end-1 from the frozen encoder. [n, P, E] */
  #features(canvas: Tensor, begin: number, end: number): Tensor {
    const { side } = this.plan;
    const { encoder } = this.encoder;
    return noGrad(() =>
      scope(() => {
        const boxes = Int32Array.from({ length: 4 * (end - begin) }, (_, i) => {
          const top = (begin + (i >> 2)) * side;
          return [top, 0, top + side, side][i & 3] as number;
        });
        const rows = windowPatches(
          canvas,
          Tensor.from(boxes, [end - begin, 4]),
          Tensor.from(Float32Array.from(this.#statistics.mean)),
          Tensor.from(Float32Array.from(this.#statistics.std)),
          { height: side, width: side, patch: encoder.patch, pad: [0, 0, 0, 0], dtype: encoder.compute },
        );
        return encoder.encode(rows, this.#grid, { ...familyDefaults, ...encoderOptions }, false).features;
      }),
    );
  }

  #stats(features: Tensor, text: Tensor, first: number): AlignmentStats {
    return scope(() => {
      const [h, w] = this.#grid;
      const [n = 0, , e = 0] = features.shape;
      const map = decode(features.reshape(n, h, w, e), this.parameters, this.encoder.encoder.compute); // [n, 2h, 2w, E]
      return mgcaStats(map.reshape(n, 4 * h * w, e), text, this.options, first);
    });
  }

  async report(): Promise<Record<string, number>> {
    const gate = async (i: number) =>
      Math.tanh((await this.parameters.get(`decoder.block${i}.gate`)?.item()) as number);
    return { gate1: await gate(1), gate2: await gate(2) };
  }

  describe(): Record<string, string> {
    const json = (value: unknown) => `${JSON.stringify(value, null, 2)}\n`;
    const { readOut } = this.model;
    return {
      'config.json': json({ model_type: 'mgca', width: this.encoder.embed }),
      'wordmask.json': json({
        format: 1,
        system: 'mgca',
        base: { model: this.baseName, sha256: this.encoder.hash },
        ...(readOut.templates && { templates: readOut.templates }),
        defaults: {
          ...(this.model.normalisation === 'clip' && { mean: clipMean255, std: clipStd255 }),
          ...readOut.defaults,
        },
      }),
    };
  }

  dispose(): void {
    for (const tensor of this.parameters.values()) tensor.dispose();
    this.encoder.dispose();
  }
}

/** [begin, end) of the parts of a batch. */
function parts(size: number, each: number): [number, number][] {
  return Array.from({ length: Math.ceil(size / each) }, (_, i) => [i * each, Math.min(size, (i + 1) * each)]);
}

function joined(parts: readonly AlignmentStats[]): AlignmentStats {
  if (parts.length === 1) return parts[0] as AlignmentStats;
  const join = (name: keyof AlignmentStats) =>
    concat(
      parts.map((part) => part[name]),
      0,
    );
  return { regions: join('regions'), cosines: join('cosines'), pixels: join('pixels') };
}

function rowsOf({ data, shape }: MgcaBatch['ids'], lengths: Int32Array): number[][] {
  const width = shape[1] as number;
  return Array.from(lengths, (length, i) => [...data.subarray(i * width, i * width + length)]);
}
