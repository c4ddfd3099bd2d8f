/** config.json of CLIP: what is taken from old exports, and what a wrong one is told. */
import t from 'tap';
import { parseClipConfig } from '#lib/backbones/clip/index.js';

const parse = (json: unknown) => parseClipConfig('config.json', json);

t.test('defaults and both spellings of a tower', (t) => {
  const plain = parse({ model_type: 'clip' });
  t.match(plain, {
    embed: 512,
    vision: { width: 768, heads: 12, patch: 32, eps: 1e-5 },
    text: { width: 512, heads: 8, positions: 77, eosTokenId: 49407 },
  });
  t.same(
    parse({
      model_type: 'clip',
      vision_config: null,
      text_config: null,
      text_config_dict: null,
      vision_config_dict: null,
    }),
    plain,
  );
  // Checked against CLIPConfig of transformers 5.18: hidden_size 96, eos_token_id 49407, layer_norm_eps 1e-5.
  const old = parse({
    model_type: 'clip',
    text_config: { hidden_size: 64, eos_token_id: 2, layer_norm_eps: 1e-6 },
    text_config_dict: { hidden_size: 96 },
  });
  t.match(old.text, { width: 96, eosTokenId: 49407, eps: 1e-5 });
  t.equal(parse({ model_type: 'clip', text_config: { eos_token_id: 2 } }).text.eosTokenId, 2);
  t.equal(
    parse({ model_type: 'clip', vision_config: { patch_size: 16 }, vision_config_dict: { patch_size: 14 } }).vision
      .patch,
    14,
  );
  t.end();
});

t.test('wrong values are named', (t) => {
  const wrong = (json: unknown, message: RegExp) => t.throws(() => parse(json), { code: 'E_MODEL_FORMAT', message });
  wrong({ model_type: 'bert' }, /model_type: .*found "bert"/);
  wrong(null, /the file: .*found null/);
  wrong({ model_type: 'clip', text_config: { hidden_size: 'wide' } }, /text_config\.hidden_size: .*found "wide"/);
  wrong({ model_type: 'clip', vision_config: { hidden_act: 'relu' } }, /vision_config\.hidden_act: .*found "relu"/);
  wrong({ model_type: 'clip', vision_config: { num_hidden_layers: 1e9 } }, /num_hidden_layers: .*found 1000000000/);
  wrong(
    { model_type: 'clip', text_config_dict: { layer_norm_eps: -1 } },
    /text_config_dict\.layer_norm_eps: .*found -1/,
  );
  wrong(
    { model_type: 'clip', text_config: { hidden_size: 10, num_attention_heads: 4 } },
    /text_config.*10 is not a multiple.*4/,
  );
  wrong({ model_type: 'clip', vision_config: { image_size: 16, patch_size: 32 } }, /16 is smaller than patch_size 32/);
  t.end();
});
