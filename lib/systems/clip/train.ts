/**
 * CLIP from captions (arXiv 2103.00020), with two terms that teach its patches the words (drawn-scenes.md section 2): the
 * contrastive loss on the mean of the patches, and nouns of the caption found in their best patches. Both read the value path of
 * the last block, so that MaskCLIP's read-out finds at inference what training put there; they add nothing to the finished
 * model, whose files are a plain CLIP in Hugging Face's layout.
 */
import {
  buildClip,
  type ClipModel,
  clipFiles,
  type parseClipConfig,
  randomClip,
  readClipFolder,
} from '../../backbones/clip/index.js';
import {
  add,
  assign,
  isolated,
  l2Normalise,
  minimum,
  noGrad,
  requireGrad,
  scaleShift,
  scope,
  Tensor,
} from '../../engine/index.js';
import { contrastive, nounPatch, valuePath } from '../../nn/losses/index.js';
import type { HostBatch, Losses, Trainable, TrainableRequest } from '../../nn/trainable.js';
import { bpeFiles, bpeTokenizer, learnBpe, NounFinder, type Tokenizer } from '../../text/index.js';
import { WordmaskError } from '../../util/errors.js';
import { Slices } from '../../util/slices.js';
import { type BatchPlan, type ClipBatch, prepareBatch } from './train-batch.js';
import { patchLabelLoss } from './train-labels.js';
import {
  type ClipTrainLosses,
  type ClipTrainModel,
  parseTrainLosses,
  parseTrainModel,
  trainConfig,
} from './train-options.js';
import { testClip } from './train-test.js';

/** Captions that the vocabulary is learnt from. */
const captionsForVocabulary = 4_000;
/** Extra parameters of the noun term; the loader of finished models knows to leave them. */
const nounScale = 'noun_patch.log_scale';
const nounBias = 'noun_patch.bias';

/** Starts a training, from random values or from a CLIP folder. @throws E_OPTION, as opening the folder */
export async function trainClip(request: TrainableRequest): Promise<Trainable> {
  const model = parseTrainModel(request.model);
  const losses = parseTrainLosses(request.losses);
  const start =
    request.base === undefined ? await fromNothing(request, model) : await fromFolder(request, request.base);
  const { tensors, files, tokenizer, config } = start;
  isolated(() => {
    const term = losses.nounPatch;
    if (!term) return;
    tensors.set(nounScale, Tensor.from([Math.log(term.scale)], [1]));
    tensors.set(nounBias, Tensor.from([term.bias], [1]));
  });
  const clip = isolated(() => buildClip(config, tensors, { compute: request.compute, trainable: true }));
  const plan: BatchPlan = {
    image: config.vision.imageSize,
    patch: config.vision.patch,
    context: config.text.positions,
    patches: model.patches,
    allPatchesFrom: model.allPatchesFrom,
    tokenizer,
    nounPatch: losses.nounPatch,
    finder: losses.nounPatch && new NounFinder(losses.nounPatch.nouns),
    patchLabels: losses.patchLabels,
  };
  const trainable = new ClipTrainable(clip, plan, losses, { ...files, 'wordmask.json': manifest(model.readOut) });
  const { heldOut, compute } = request;
  if (!heldOut) return trainable;
  const { templates } = model.readOut;
  return Object.assign(trainable, {
    evaluate: async () => testClip(clip, { plan, templates, compute, heldOut: await heldOut() }),
  });
}

interface Start {
  readonly config: ReturnType<typeof parseClipConfig>;
  readonly tensors: Map<string, Tensor>;
  readonly tokenizer: Tokenizer;
  readonly files: Readonly<Record<string, string | Uint8Array>>;
}

async function fromNothing(request: TrainableRequest, model: ClipTrainModel): Promise<Start> {
  const { signal } = request;
  const captions = await request.captions(captionsForVocabulary);
  const learned = await learnBpe(captions, model.text.vocabulary, signal);
  const config = trainConfig(model, learned.symbols.length);
  const slices = new Slices(signal);
  const files = { ...clipFiles(config), ...bpeFiles(learned, config.text.positions) };
  const tokenizer = bpeTokenizer(learned);
  if (slices.due) await slices.pause();
  return { config, tensors: randomClip(config, request.random.fork('weights').bits()), tokenizer, files };
}

async function fromFolder(request: TrainableRequest, folder: string): Promise<Start> {
  const sizes = ['vision', 'text', 'projection', 'activation'].filter((key) => key in request.model);
  if (sizes.length > 0)
    throw new WordmaskError(
      'E_OPTION',
      `clip: model.${sizes[0]} cannot be given beside base: the sizes are those of ${folder}`,
      { details: { option: `model.${sizes[0]}` } },
    );
  const start = await readClipFolder(folder, request.signal);
  const { imageSize, patch } = start.config.vision;
  if (imageSize % patch === 0) return start;
  for (const tensor of start.tensors.values()) tensor.dispose();
  throw new WordmaskError(
    'E_MODEL_FORMAT',
    `${folder}: training needs an image size that is a multiple of the patch size, got ${imageSize} and ${patch}`,
    { details: { folder } },
  );
}

function manifest({ system, templates, defaults }: ClipTrainModel['readOut']): string {
  return `${JSON.stringify({ format: 1, system, ...(templates && { templates }), defaults }, null, 2)}\n`;
}

class ClipTrainable implements Trainable {
  readonly parameters: ReadonlyMap<string, Tensor>;

  constructor(
    private readonly clip: ClipModel,
    private readonly plan: BatchPlan,
    private readonly options: ClipTrainLosses,
    private readonly files: Readonly<Record<string, string | Uint8Array>>,
  ) {
    this.parameters = clip.parameters;
    for (const tensor of this.parameters.values()) requireGrad(tensor);
  }

  prepare(...[samples, context]: Parameters<Trainable['prepare']>) {
    return prepareBatch(samples, this.plan, context);
  }

  losses(batch: HostBatch): Losses {
    return scope(() => {
      const { rows, places, ids, ends, nounIds, nounEnds, named, ...given } = batch as unknown as ClipBatch;
      const { clip, options } = this;
      const tensor = (array: { data: Int32Array | Float32Array; shape: readonly number[] }) =>
        Tensor.from(array.data, array.shape);
      const pixels = Tensor.from(rows.data, rows.shape, rows.data instanceof Uint16Array ? 'bf16' : 'f32');
      const dense = options.valuePath > 0 || options.nounPatch !== undefined || options.patchLabels !== undefined;
      const { image, patches } = clip.readVision(clip.embedSome(pixels, tensor(places)), dense); // [B, E], [B, K, E]
      const text = clip.readText(tensor(ids), ends.data); // [B, E]
      const temperature = { logitScale: this.parameters.get('logit_scale') as Tensor };
      const found: Record<string, Tensor> = {};
      let total: Tensor | undefined;
      const addTerm = (name: string, term: Tensor, weight: number) => {
        found[name] = term;
        const part = weight === 1 ? term : scaleShift(term, weight, 0);
        total = total ? add(total, part) : part;
      };
      if (options.contrastive > 0) addTerm('contrastive', contrastive(image, text, temperature), options.contrastive);
      const unit = patches && l2Normalise(patches);
      if (unit && options.valuePath > 0) addTerm('valuePath', valuePath(unit, text, temperature), options.valuePath);
      if (unit && options.nounPatch && nounIds && nounEnds && named) {
        const { weight, sharpness, unnamed } = options.nounPatch;
        const words = clip.readText(tensor(nounIds), nounEnds.data); // [Q, E]
        const term = nounPatch(unit, words, tensor(named), {
          logScale: this.parameters.get(nounScale) as Tensor,
          bias: this.parameters.get(nounBias) as Tensor,
          sharpness,
          unnamedWeight: unnamed,
        });
        addTerm('nounPatch', term, weight);
      }
      if (unit && options.patchLabels && given.classIds && given.classEnds && given.labels) {
        const words = clip.readText(tensor(given.classIds), given.classEnds.data); // [C, E]
        const term = patchLabelLoss(unit, words, tensor(given.labels), temperature.logitScale);
        addTerm('patchLabels', term, options.patchLabels.weight);
      }
      return { ...found, total: total as unknown as Tensor };
    });
  }

  afterUpdate(): void {
    noGrad(() => {
      const scale = this.parameters.get('logit_scale') as Tensor;
      const limited = minimum(scale, Math.log(this.options.maxScale));
      assign(scale, limited);
      limited.dispose();
    });
  }

  async report(): Promise<Record<string, number>> {
    const value = async (name: string) => (await this.parameters.get(name)?.item()) as number;
    return {
      scale: Math.exp(await value('logit_scale')),
      ...(this.options.nounPatch && {
        nounScale: Math.exp(await value(nounScale)),
        nounBias: await value(nounBias),
      }),
    };
  }

  describe(): Readonly<Record<string, string | Uint8Array>> {
    return this.files;
  }

  dispose(): void {
    this.clip.dispose();
  }
}
