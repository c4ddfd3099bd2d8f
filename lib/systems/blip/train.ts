/**
 * BLIP's matching model from captions (arXiv 2201.12086, section 3.2): the contrastive loss of pictures and texts read apart, and the
 * matching loss of texts that look at the picture, against wrong captions and wrong pictures that the contrastive side takes for
 * right. Texts alone have [CLS] at position 0, texts with a picture [ENC], as PnP-OVSS and LAVIS feed them. Left out: the momentum
 * encoders, their queue and soft targets, and the captioning decoder. The finished model is a plain BLIP in Hugging Face's layout.
 */
import { type BlipConfig, blipFiles, blipScale, buildBlip, randomBlip } from '../../backbones/blip/index.js';
import {
  add,
  assign,
  concat,
  gather,
  isolated,
  minimum,
  noGrad,
  requireGrad,
  scaleShift,
  scope,
  Tensor,
} from '../../engine/index.js';
import { lengthMask, type TextBatch } from '../../nn/bert.js';
import { contrastive, hardNegatives, matchLoss } from '../../nn/losses/index.js';
import type { FusionCore } from '../../nn/match/fusion.js';
import type { HostBatch, Losses, Trainable, TrainableRequest } from '../../nn/trainable.js';
import { learnWordPieces, NounFinder, type Tokenizer, wordPieceFiles, wordPieceTokenizer } from '../../text/index.js';
import { WordmaskError } from '../../util/errors.js';
import { type BatchPlan, type BlipBatch, listTexts, prepareBatch } from './train-batch.js';
import {
  type BlipTrainLosses,
  type BlipTrainModel,
  nounListsOf,
  parseTrainLosses,
  parseTrainModel,
  trainConfig,
} from './train-options.js';
import { testBlip } from './train-test.js';

/** Captions that the vocabulary is made from. */
const captionsForVocabulary = 4_000;

/** Starts a training from random values. @throws E_OPTION */
export async function trainBlip(request: TrainableRequest): Promise<Trainable> {
  const model = parseTrainModel(request.model);
  const losses = parseTrainLosses(request.losses);
  if (request.base !== undefined)
    throw new WordmaskError('E_OPTION', 'blip: base cannot be given: this system starts from random values', {
      details: { option: 'base' },
    });
  const lists = nounListsOf(model);
  const captions = await request.captions(captionsForVocabulary);
  const pieces = await learnWordPieces(
    lists ? [...captions, ...listTexts(lists)] : captions,
    model.text.vocabulary,
    request.signal,
  );
  const tokenizer = wordPieceTokenizer(pieces);
  const config = trainConfig(model, pieces.length);
  const parameters = randomBlip(config, request.random.fork('weights').bits());
  const core = isolated(() => buildBlip(config, new Map(parameters), request.compute));
  const plan: BatchPlan = {
    image: config.vision.imageSize,
    patch: config.vision.patch,
    context: config.text.positions,
    patches: model.patches,
    allPatchesFrom: model.allPatchesFrom,
    tokenizer,
    ...(lists && { lists: { ...lists, finder: new NounFinder(lists.nouns) } }),
  };
  const files = modelFiles(config, pieces, tokenizer, model.readOut);
  const trainable = new BlipTrainable(core, parameters, plan, losses, files);
  const { heldOut, compute } = request;
  if (!heldOut) return trainable;
  const test = async () => testBlip(trainable, { plan, compute, heldOut: await heldOut() });
  return Object.assign(trainable, { evaluate: test });
}

function modelFiles(
  config: BlipConfig,
  pieces: readonly string[],
  { padId, eotId }: Tokenizer,
  { system, defaults }: BlipTrainModel['readOut'],
): Readonly<Record<string, string>> {
  return {
    ...blipFiles(config, { pad: padId, sep: eotId, bos: pieces.indexOf('[DEC]') }),
    ...wordPieceFiles(pieces, config.text.positions),
    'wordmask.json': `${JSON.stringify({ format: 1, system, defaults }, null, 2)}\n`,
  };
}

/** The two sides of a batch: B pairs. */
export interface BlipSides {
  /** [B, 1+K, D'] */
  readonly tokens: Tensor;
  /** Contrastive embeddings [B, E], not normalised. */
  readonly image: Tensor;
  readonly text: Tensor;
}

export class BlipTrainable implements Trainable {
  /** Of [ENC]. */
  private readonly startId: number;

  constructor(
    private readonly core: FusionCore,
    readonly parameters: ReadonlyMap<string, Tensor>,
    private readonly plan: BatchPlan,
    private readonly options: BlipTrainLosses,
    private readonly files: Readonly<Record<string, string>>,
  ) {
    this.startId = plan.tokenizer.specialId('[ENC]') as number;
    for (const tensor of parameters.values()) requireGrad(tensor);
  }

  prepare(...[samples, context]: Parameters<Trainable['prepare']>) {
    return prepareBatch(samples, this.plan, context);
  }

  get temperature(): { readonly logitScale: Tensor } {
    return { logitScale: this.parameters.get(blipScale) as Tensor };
  }

  /** Pictures and texts, each read alone. */
  sides({ rows, places, ids, lengths }: BlipBatch): BlipSides {
    return scope(() => {
      const pixels = Tensor.from(rows.data, rows.shape, rows.data instanceof Uint16Array ? 'bf16' : 'f32');
      const tokens = this.core.someTokens(pixels, Tensor.from(places.data, places.shape));
      const text = textBatch(ids.data, lengths.data);
      return { tokens, image: this.core.imageEmbedding(tokens), text: this.core.textEmbedding(text) };
    });
  }

  /**
   * Match logits [3B, 2]: the pairs themselves; each picture with a wrong text; each text with a wrong picture.
   * @param wrong i32 [B] each: the text for a picture, the picture for a text
   */
  match(batch: BlipBatch, tokens: Tensor, wrong: { readonly texts: Tensor; readonly images: Tensor }): Tensor {
    return scope(() => {
      const { ids, lengths } = batch;
      const [size = 0, length = 0] = ids.shape;
      const started = ids.data.map((id, i) => (i % length === 0 ? this.startId : id));
      const text = this.core.textStates(textBatch(started, lengths.data)); // [B, L, D]
      const counts = Tensor.from(lengths.data, [size, 1]);
      const joined = [text, pick(text, wrong.texts), text];
      const keyLengths = concat([counts, gather(counts, wrong.texts), counts], 0).reshape(3 * size);
      const images = concat([tokens, tokens, pick(tokens, wrong.images)], 0); // [3B, 1+K, D']
      return this.core.match(concat(joined, 0), { keyLengths }, images);
    });
  }

  losses(batch: HostBatch): Losses {
    return scope(() => {
      const given = batch as unknown as BlipBatch;
      const { options, temperature } = this;
      const { tokens, image, text } = this.sides(given);
      const found: Record<string, Tensor> = { contrastive: contrastive(image, text, temperature) };
      let total = scaleShift(found.contrastive as Tensor, options.contrastive, 0);
      if (options.matching > 0) {
        const wrong = hardNegatives(image, text, Tensor.from(given.noise.data, given.noise.shape), temperature);
        const matching = matchLoss(this.match(given, tokens, wrong), given.lengths.data.length);
        found.matching = matching;
        total = add(total, scaleShift(matching, options.matching, 0));
      }
      return { ...found, total };
    });
  }

  afterUpdate(): void {
    noGrad(() => {
      const limited = minimum(this.temperature.logitScale, Math.log(this.options.maxScale));
      assign(this.temperature.logitScale, limited);
      limited.dispose();
    });
  }

  async report(): Promise<Record<string, number>> {
    return { scale: Math.exp(await this.temperature.logitScale.item()) };
  }

  describe(): Readonly<Record<string, string>> {
    return this.files;
  }

  dispose(): void {
    this.core.dispose();
    for (const tensor of this.parameters.values()) tensor.dispose();
  }
}

function textBatch(ids: Int32Array, lengths: Int32Array): TextBatch {
  return { ids, batch: lengths.length, length: ids.length / lengths.length, mask: lengthMask(lengths) };
}

/** Samples of x [B, N, D] by number. */
function pick(x: Tensor, numbers: Tensor): Tensor {
  const [size = 0, ...rest] = x.shape;
  return gather(x.reshape(size, -1), numbers).reshape(size, ...rest);
}
