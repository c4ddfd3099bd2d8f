/** What BridgeTower and mPLUG have of their own: blocks, links, positions; joint layers. */
import t from 'tap';
import { parseBridgeTowerConfig } from '#lib/backbones/bridgetower/config.js';
import { bridgeTowerTensors } from '#lib/backbones/bridgetower/keys.js';
import { loadBackbone } from '#lib/registry/backbones.js';
import { maxError } from '../helpers/data.js';
import { bridgeTowerConfig, bridgeTowerModel, modelFolder, mplugConfig, mplugModel } from '../helpers/matching.js';
import { seeded } from '../helpers/samples.js';

const random = seeded('bridges');
const picture = { data: Float32Array.from({ length: 3 * 24 * 24 }, () => 2 * random() - 1), shape: [1, 3, 24, 24] };
const top = (x: ArrayLike<number>) => Array.from(x).reduce((m, v) => Math.max(m, Math.abs(v)), 0);
const ints = (values: readonly number[], shape = [1, values.length]) => ({ data: Int32Array.from(values), shape });

t.test('BridgeTower counts its blocks, links and positions', async (t) => {
  const large = parseBridgeTowerConfig('config.json', {
    hidden_size: 1024,
    num_hidden_layers: 6,
    text_config: { hidden_size: 1024, num_hidden_layers: 24, num_attention_heads: 16, intermediate_size: 4096 },
    vision_config: { hidden_size: 1024, num_hidden_layers: 24, patch_size: 14, image_size: 294 },
  });
  t.equal(large.split, 19);
  t.equal(large.vision.heads, 16);
  const names = [...bridgeTowerTensors(large).keys()];
  const numbers = (pattern: RegExp) => new Set(names.flatMap((name) => pattern.exec(name)?.[1] ?? [])).size;
  t.same([/text_link_tower\.(\d)/, /image_layers\.(\d)/, /resblocks\.(\d+)/].map(numbers), [5, 6, 24]);
  const tensors = bridgeTowerModel();
  const backbone = await loadBackbone(await modelFolder(tensors, bridgeTowerConfig));
  const values = async (row: number[], mask: number[]) => {
    const inputs = { pixel_values: picture, input_ids: ints(row), attention_mask: ints(mask) };
    const found = await backbone.inspect(inputs, ['itm_logits', 'cross_attention_gradient.0']);
    return [found.itm_logits?.data, found['cross_attention_gradient.0']?.data.slice(0, 40)] as Float32Array[];
  };
  const [plain, slopes] = (await values([0, 5, 7, 2], [1, 1, 1, 1])) as [Float32Array, Float32Array];
  const [padded, same] = (await values([0, 5, 7, 2, 1, 1], [1, 1, 1, 1, 0, 0])) as [Float32Array, Float32Array];
  t.ok(maxError(padded, plain) < 1e-5 && maxError(same, slopes) < 1e-5 * (1 + top(slopes)), 'padding is not seen');
  // Padding in front takes no place of the position table: tokens keep theirs.
  const [front] = (await values([1, 0, 5, 7, 2], [0, 1, 1, 1, 1])) as [Float32Array];
  t.ok(maxError(front, plain) > 0, 'but the match head reads token 0');
  backbone.dispose();
  // Links that get nothing from the towers hand on LN of the streams: the picture's last block no longer counts.
  const silent = new Map(tensors);
  for (const [name, { shape, data }] of tensors)
    if (/_transform\.|^token_type/.test(name)) silent.set(name, { shape, data: new Float32Array(data.length) });
  const deaf = await loadBackbone(await modelFolder(silent, bridgeTowerConfig));
  const other = { pixel_values: { ...picture, data: picture.data.map((x) => -x) }, input_ids: ints([0, 6, 2]) };
  const ask = (inputs: object) => deaf.inspect(inputs as never, ['multimodal.last_hidden', 'image_features']);
  const [one, two] = [await ask({ ...other, pixel_values: picture }), await ask(other)];
  t.same(one['multimodal.last_hidden']?.data, two['multimodal.last_hidden']?.data);
  deaf.dispose();
});

t.test('a mask with holes reaches joint layers too', async (t) => {
  const backbone = await loadBackbone(await modelFolder(mplugModel(), mplugConfig));
  const logits = async (row: number[]) => {
    const inputs = { pixel_values: picture, input_ids: ints(row), attention_mask: ints([1, 1, 0, 1, 1]) };
    return (await backbone.inspect(inputs, ['itm_logits'])).itm_logits?.data as Float32Array;
  };
  t.ok(maxError(await logits([2, 5, 8, 9, 3]), await logits([2, 5, 11, 9, 3])) < 1e-5);
  t.ok(maxError(await logits([2, 5, 8, 9, 3]), await logits([2, 5, 8, 11, 3])) > 1e-4);
  backbone.dispose();
});
