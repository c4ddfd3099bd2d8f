/** The two faces of a matching model: for a system (`MatchingModel`) and for raw use (`Backbone`). */
import { noGrad, onDevice, scope, Tensor } from '../../engine/index.js';
import { show, WordmaskError } from '../../util/errors.js';
import { type Backbone, hostValue, inspectWith } from '../backbone.js';
import { lengthMask, type TextBatch } from '../bert.js';
import { pixelInput, textInput } from '../inputs.js';
import type { Compute } from '../linear.js';
import type { CrossAttentionPlace, MatchingKind, MatchingModel, MatchingTokens } from '../matching.js';
import { type Cam, crossAttentionCams, crossAttentionSalience, type MatchCore } from './core.js';
import { matchNames, matchValues } from './values.js';

/** What both faces know about a model beside its core. */
export interface MatchFacts {
  readonly kind: MatchingKind;
  readonly patch: number;
  readonly imageSize: number;
  /** Rows a text may take of the position table. */
  readonly maxTokens: number;
  readonly vocabulary: number;
  readonly padId: number;
  readonly types?: number;
  dispose(): void;
}

export interface MatchTokenizer {
  readonly startId: number;
  tokenize(text: string): MatchingTokens;
  /** Ids for the contrastive side, cut to a length. */
  encode(texts: readonly string[], maxLength: number): number[][];
}

/** What a family's opener puts together. */
export interface MatchParts {
  readonly core: MatchCore;
  readonly facts: MatchFacts;
  readonly config: unknown;
  /** Trainable tensors by the file's names; empty where the model was opened for inference alone. */
  readonly parameters: ReadonlyMap<string, Tensor>;
  readonly hash: string;
  readonly parametersBytes: number;
  /** @throws E_TOKENIZER */
  tokenizer(): Promise<MatchTokenizer>;
}

/** An opened model, which takes one of two faces; the face owns it from then on. */
export interface OpenedMatch {
  /** For raw use; the tokenizer is read at its first use. */
  asBackbone(): Backbone;
  /** For a system. @throws E_TOKENIZER */
  asMatching(): Promise<MatchingModel>;
}

/** Tensors of a family as its files gave them, with what was read beside them. */
export interface ReadMatch {
  readonly byFileName: ReadonlyMap<string, Tensor>;
  readonly hash: string;
  readonly bytes: number;
}

/** What a family's configuration says about its sides. */
export interface MatchSides {
  readonly vision: { readonly patch: number; readonly imageSize: number };
  readonly text: {
    readonly positions: number;
    readonly vocabulary: number;
    readonly types?: number;
    readonly padId?: number;
  };
}

/**
 * An opened model from its parts. Rows of the position table up to the one of padding, where there is one, are nobody's.
 * @param owned disposed with the model, in this order
 */
export function matchOf(
  kind: MatchingKind,
  config: MatchSides,
  read: ReadMatch,
  owned: readonly [core: MatchCore & { dispose(): void }, maps: { dispose(): void }],
  tokenizer: MatchParts['tokenizer'],
  trainable = false,
): OpenedMatch {
  const { vision, text } = config;
  const [core] = owned;
  return openedMatch({
    core,
    config,
    parameters: trainable ? read.byFileName : new Map(),
    hash: read.hash,
    parametersBytes: read.bytes,
    facts: {
      kind,
      patch: vision.patch,
      imageSize: vision.imageSize,
      maxTokens: text.positions - (text.padId === undefined ? 0 : text.padId + 1),
      vocabulary: text.vocabulary,
      types: text.types,
      padId: text.padId ?? 0,
      dispose: () => {
        for (const part of owned) part.dispose();
      },
    },
    tokenizer,
  });
}

function openedMatch(parts: MatchParts): OpenedMatch {
  return {
    asBackbone: () => backbone(parts),
    asMatching: async () => {
      try {
        return matchingModel(parts, await parts.tokenizer());
      } catch (error) {
        parts.facts.dispose();
        throw error;
      }
    },
  };
}

function matchingModel({ core, facts, hash, parametersBytes }: MatchParts, tokenizer: MatchTokenizer): MatchingModel {
  const { kind, patch, imageSize, maxTokens } = facts;
  const run = <R>(
    pixels: Tensor,
    ids: readonly (readonly number[])[],
    at: CrossAttentionPlace,
    read: (image: unknown, text: TextBatch) => R,
  ): R => {
    checkPlace(core, facts, at);
    checkPixels(pixels, patch);
    return onDevice(pixels.device, () =>
      noGrad(() =>
        scope(() => {
          const text = captions(facts, ids);
          return read(core.repeat(core.vision(pixels), text.batch), text);
        }),
      ),
    );
  };
  const cam: MatchingModel['crossAttentions'] = (pixels, ids, at) =>
    run(pixels, ids, at, (image, text) => {
      const { cams, logits } = crossAttentionCams(core, image, text, [at]);
      const { probabilities, gradient } = cams[0] as Cam;
      return { probabilities, gradient, logits };
    });
  return {
    kind,
    patch,
    imageSize,
    layers: core.layers,
    heads: core.heads,
    maxTokens,
    startId: tokenizer.startId,
    hash,
    parametersBytes,
    tokenize: (text) => tokenizer.tokenize(text),
    crossAttentions: cam,
    crossAttention: (pixels, ids, at) =>
      scope(() => {
        const { probabilities, gradient, logits } = cam(pixels, [ids], at);
        return { probabilities: probabilities.select(0, 0), gradient: gradient.select(0, 0), logits };
      }),
    salience: (pixels, ids, at) => run(pixels, ids, at, (image, text) => crossAttentionSalience(core, image, text, at)),
    values: (pixels, ids, names) =>
      onDevice(pixels.device, () =>
        noGrad(() =>
          scope(() => {
            const inputs = { pixels: () => checkPixels(pixels, patch), text: () => captions(facts, [ids]) };
            return matchValues(core, inputs, names);
          }),
        ),
      ),
    dispose: () => facts.dispose(),
  };
}

function checkPlace(core: MatchCore, { kind }: MatchFacts, at: CrossAttentionPlace): void {
  const { layer, heads = [] } = (at ?? {}) as Partial<CrossAttentionPlace>;
  const fail = (option: string, text: string): never => {
    throw new WordmaskError('E_OPTION', text, { details: { option } });
  };
  if (layer === undefined || !core.layers.includes(layer))
    fail(
      'layer',
      `${kind}: layer ${show(layer)} has no cross-attention to the picture; those that have are ${core.layers.join(', ')}`,
    );
  if (heads.length === 0) fail('head', `${kind}: at least one head is needed, from 0 to ${core.heads - 1}`);
  for (const head of heads)
    if (!Number.isInteger(head) || head < 0 || head >= core.heads)
      fail('head', `${kind}: there is no head ${show(head)}; heads are numbered 0 to ${core.heads - 1}`);
}

function checkPixels(pixels: Tensor, patch: number): Tensor {
  if (!(pixels instanceof Tensor))
    throw new WordmaskError('E_USAGE', `pixels must be a Tensor [B, 3, H, W], got ${show(pixels)}`);
  return pixelInput({ pixel_values: pixels }, patch);
}

/** Captions side by side, shorter ones padded behind. */
function captions(facts: MatchFacts, ids: readonly (readonly number[])[]): TextBatch {
  const { kind, maxTokens, vocabulary, padId } = facts;
  const length = Math.max(0, ...ids.map((row) => row.length));
  const fail = (text: string): never => {
    throw new WordmaskError('E_OPTION', `${kind}: ${text}`, { details: { option: 'ids' } });
  };
  if (ids.length === 0 || ids.some((row) => row.length === 0)) fail('a caption needs at least one token');
  if (length > maxTokens) fail(`the caption has ${length} tokens, the limit is ${maxTokens}: split it`);
  const rows = new Int32Array(ids.length * length).fill(padId);
  ids.forEach((row, i) => {
    row.forEach((id, j) => {
      if (!Number.isInteger(id) || id < 0 || id >= vocabulary)
        fail(`token ${j} has the id ${show(id)}, the vocabulary goes from 0 to ${vocabulary - 1}`);
      rows[i * length + j] = id;
    });
  });
  const ragged = ids.some((row) => row.length < length);
  const whole = { ids: rows, batch: ids.length, length };
  const lengths = ids.map((row) => row.length);
  return ragged ? { ...whole, mask: lengthMask(lengths), lengths } : { ...whole, mask: {} };
}

function backbone(parts: MatchParts): Backbone {
  const { core, facts, config, parameters } = parts;
  const forward: Backbone['forward'] = (inputs, names) =>
    matchValues(core, { pixels: () => pixelInput(inputs, facts.patch), text: () => textInput(inputs, facts) }, names);
  let tokenizer: Promise<MatchTokenizer> | undefined;
  return {
    kind: facts.kind,
    config,
    parameters,
    names: matchNames(core),
    forward,
    inspect: inspectWith(forward),
    encodeImage: (pixels) =>
      hostValue(() => forward({ pixel_values: pixels }, ['image_embeds']).image_embeds as Tensor),
    encodeText: async (texts) => {
      tokenizer ??= parts.tokenizer();
      const ids = (await tokenizer).encode([texts].flat() as string[], facts.maxTokens);
      const inputs = { pixels: () => noPicture(), text: () => captions(facts, ids) };
      return hostValue(() => matchValues(core, inputs, ['text_embeds']).text_embeds as Tensor);
    },
    dispose: () => facts.dispose(),
  };
}

function noPicture(): never {
  throw new WordmaskError('E_INTERNAL', 'text features ask for no picture');
}

/** Files of a model folder, found and checked by the registry. */
export interface MatchFiles {
  readonly configFile: string;
  readonly config: Readonly<Record<string, unknown>>;
  readonly weights: string;
  /** Folder of the tokenizer's files. */
  readonly tokenizer: string;
}

export interface MatchOptions {
  readonly compute: Compute;
  /** Keep every tensor (f32) and let gradients flow to all of them. */
  readonly trainable?: boolean;
  /** Look for NaN and infinity (E_WEIGHTS_VALUE). Default true. */
  readonly checkWeights?: boolean;
  /**
   * Eps of the picture side's norms in place of the config's. Published Hugging Face configs of BLIP leave it out, which means 1e-5
   * there, while the weights were trained with 1e-6.
   */
  readonly visionEps?: number;
  readonly signal?: AbortSignal;
}
