/**
 * BERT alone (Devlin et al. 2018, arXiv 1810.04805), as encoder or as decoder with causal self-attention and cross-attention to
 * states that are given: values by name, gradients. As Hugging Face's `BertModel`.
 */
import { adopt, retain, scope, type Tensor, tanh } from '../../engine/index.js';
import { type Backbone, inspectWith } from '../../nn/backbone.js';
import {
  type BertEmbeddings,
  type BertLayer,
  bertEmbeddingsFrom,
  bertLayer,
  bertLayerFrom,
  embedWords,
  wantBertEmbeddings,
  wantBertLayer,
} from '../../nn/bert.js';
import { type Inputs, input, knownNames, maskInput, textInput } from '../../nn/inputs.js';
import type { Compute, Linear } from '../../nn/linear.js';
import { TensorMaps } from '../../nn/tensor-maps.js';
import { WordmaskError } from '../../util/errors.js';
import { readModelTensors } from '../../weights/index.js';
import { type BertConfig, parseBertConfig } from './config.js';

/** `model_type`s this family answers to. */
export const bertTypes: readonly string[] = ['bert'];

function bertTensors(config: BertConfig): Map<string, readonly number[]> {
  const wanted = new Map<string, readonly number[]>();
  wantBertEmbeddings(wanted, 'embeddings', config);
  for (let i = 0; i < config.layers; i++) wantBertLayer(wanted, `encoder.layer.${i}`, config, config.keyWidth);
  wanted.set('pooler.dense.weight', [config.width, config.width]);
  wanted.set('pooler.dense.bias', [config.width]);
  return wanted;
}

/** @throws E_MODEL_FORMAT, E_WEIGHTS, E_WEIGHTS_VALUE, E_DISK */
export async function loadBertBackbone(
  files: { readonly configFile: string; readonly config: unknown; readonly weights: string },
  options: { readonly compute: Compute; readonly trainable?: boolean; readonly checkWeights?: boolean },
): Promise<Backbone> {
  const config = parseBertConfig(files.configFile, files.config);
  const model = await readModelTensors(files.weights, {
    rules: [],
    infix: /^bert\./,
    ignore: ['cls.**', '**.position_ids'],
    optional: ['pooler.**'],
    check: options.checkWeights,
    configure: () => ({ config, wanted: bertTensors(config) }),
  });
  const maps = new TensorMaps(model.tensors, options);
  const bert = new Bert(config, maps);
  const forward: Backbone['forward'] = (inputs, names) => bert.values(inputs, names);
  const none = (what: string) => async (): Promise<never> => {
    throw new WordmaskError(
      'E_OPTION',
      `BERT alone has no ${what}: ask \`inspect\` for text.pooled or text.last_hidden`,
    );
  };
  return {
    kind: 'bert',
    config,
    parameters: options.trainable ? model.byFileName : new Map(),
    names: bert.names,
    forward,
    inspect: inspectWith(forward),
    encodeImage: none('picture side'),
    encodeText: none('embedding of texts beside pictures'),
    dispose: () => maps.dispose(),
  };
}

const count = (name: string, length: number) => Array.from({ length }, (_, i) => `${name}.${i}`);

/** Spellings of reference outputs. */
function alias(name: string): string {
  if (name === 'last_hidden' || name === 'last_hidden_state') return 'text.last_hidden';
  if (name === 'pooled' || name === 'pooler_output') return 'text.pooled';
  return name
    .replace(/^hidden_states\./, 'text.hidden.')
    .replace(/^attentions\./, 'text.attention.')
    .replace(/^cross_attentions\./, 'cross_attention.');
}

class Bert {
  readonly names: readonly string[];
  private readonly embeddings: BertEmbeddings;
  private readonly layers: readonly BertLayer[];
  private readonly pooler: Linear | undefined;

  constructor(
    private readonly config: BertConfig,
    private readonly maps: TensorMaps,
  ) {
    const cross = config.keyWidth !== undefined;
    this.embeddings = bertEmbeddingsFrom(maps, 'embeddings');
    this.layers = count('encoder.layer', config.layers).map((at) => bertLayerFrom(maps, at, cross));
    this.pooler = maps.has('pooler.dense.weight') ? maps.dense('pooler.dense') : undefined;
    this.names = [
      'text.last_hidden',
      ...(this.pooler ? ['text.pooled'] : []),
      ...count('text.hidden', config.layers + 1),
      ...count('text.attention', config.layers),
      ...(cross ? count('cross_attention', config.layers) : []),
    ];
  }

  /** @throws E_OPTION for an unknown name, E_USAGE for a missing or ill-shaped input */
  values(inputs: Inputs, names: readonly string[]): Record<string, Tensor> {
    const { config } = this;
    const canonical = knownNames(names, new Set(this.names), alias);
    const wanted = new Set(canonical);
    const found = new Map<string, Tensor>();
    const hold = (name: string) => (x: Tensor) => void (wanted.has(name) && found.set(name, retain(x)));
    const tap = (name: string) => (wanted.has(name) ? hold(name) : undefined);
    const text = textInput(inputs, { maxTokens: config.positions, ...config });
    const image = inputs.encoder_hidden_states && states(inputs, config, text.batch);
    if (!image && canonical.some((name) => name.startsWith('cross_attention'))) input(inputs, 'encoder_hidden_states');
    const imageMask = image && maskInput(inputs, 'encoder_attention_mask', text.batch, image.shape[1] as number).mask;
    const last = scope(() => {
      let x = embedWords(text, this.embeddings, config.eps);
      hold('text.hidden.0')(x);
      this.layers.forEach((weights, i) => {
        const taps = { selfAttention: tap(`text.attention.${i}`), crossAttention: tap(`cross_attention.${i}`) };
        const { mask } = text;
        x = bertLayer(x, weights, { ...config, compute: this.maps.options.compute, mask, image, imageMask, taps });
        hold(`text.hidden.${i + 1}`)(x);
      });
      return x;
    });
    for (const value of found.values()) adopt(value);
    found.set('text.last_hidden', last);
    if (wanted.has('text.pooled'))
      found.set('text.pooled', tanh((this.pooler as Linear).forward(last.select(1, 0).contiguous(), { out: 'f32' })));
    return Object.fromEntries(names.map((name, i) => [name, found.get(canonical[i] as string) as Tensor]));
  }
}

function states(inputs: Inputs, { keyWidth }: BertConfig, batch: number): Tensor {
  const image = input(inputs, 'encoder_hidden_states');
  if (keyWidth === undefined)
    throw new WordmaskError('E_USAGE', 'inspect: this model has no cross-attention and takes no encoder_hidden_states');
  if (image.rank === 3 && image.shape[0] === batch && image.shape[2] === keyWidth) return image;
  throw new WordmaskError(
    'E_USAGE',
    `inspect: encoder_hidden_states must have shape [${batch}, K, ${keyWidth}], got [${image.shape.join(', ')}]`,
  );
}
