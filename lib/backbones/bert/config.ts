/** config.json of BERT in the Hugging Face layout (`model_type: bert`). */
import { z } from 'zod';
import type { BertSizes } from '../../nn/bert.js';
import {
  activationField,
  checkedConfig,
  checkHeads,
  epsField,
  ffnField,
  headsField,
  layersField,
  size,
  widthField,
} from '../../nn/config.js';

export interface BertConfig extends BertSizes {
  readonly vocabulary: number;
  readonly positions: number;
  readonly types: number;
  /** A decoder: token i sees tokens 0..i. */
  readonly causal: boolean;
  /** Width of `encoder_hidden_states`; without cross-attention undefined. */
  readonly keyWidth?: number;
}

const schema = z.object({
  model_type: z.literal('bert').optional(),
  vocab_size: size(1_000_000).default(30522),
  hidden_size: widthField.default(768),
  num_hidden_layers: layersField.default(12),
  num_attention_heads: headsField.default(12),
  intermediate_size: ffnField.default(3072),
  hidden_act: activationField.default('gelu'),
  max_position_embeddings: size(65536).default(512),
  type_vocab_size: size(1024).default(2),
  layer_norm_eps: epsField.default(1e-12),
  is_decoder: z.boolean().default(false),
  add_cross_attention: z.boolean().default(false),
  encoder_hidden_size: widthField.optional(),
  position_embedding_type: z.literal('absolute').default('absolute'),
});

/** @throws E_MODEL_FORMAT */
export function parseBertConfig(file: string, json: unknown): BertConfig {
  const c = checkedConfig(file, json, schema, 'BERT');
  checkHeads(file, 'the text layers', c.hidden_size, c.num_attention_heads);
  return {
    width: c.hidden_size,
    layers: c.num_hidden_layers,
    heads: c.num_attention_heads,
    ffn: c.intermediate_size,
    activation: c.hidden_act,
    eps: c.layer_norm_eps,
    vocabulary: c.vocab_size,
    positions: c.max_position_embeddings,
    types: c.type_vocab_size,
    causal: c.is_decoder,
    ...(c.add_cross_attention ? { keyWidth: c.encoder_hidden_size ?? c.hidden_size } : {}),
  };
}
