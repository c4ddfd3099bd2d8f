/** Named values of both CLIP towers, as tensors on the tape. */
import { adopt, exp, gather, l2Normalise, matmul, mul, retain, Tensor } from '../../engine/index.js';
import { type Inputs, input, knownNames } from '../../nn/inputs.js';
import { WordmaskError } from '../../util/errors.js';
import type { ClipModel } from './model.js';

/** Spellings of reference outputs. */
const aliases: Record<string, string> = {
  image_embeds_normalised: 'image_embeds',
  text_embeds_normalised: 'text_embeds',
};

const plainNames = [
  'vision.last_hidden',
  'vision.pooled',
  'vision.projected_patches',
  'text.last_hidden',
  'text.pooled',
  'image_embeds',
  'text_embeds',
  'logits_per_image',
  'logits_per_text',
];

export function clipNames(model: ClipModel): string[] {
  const layers = (tower: string, count: number) => [
    ...Array.from({ length: count + 1 }, (_, i) => `${tower}.hidden.${i}`),
    ...Array.from({ length: count }, (_, i) => `${tower}.attention.${i}`),
  ];
  return [...plainNames, ...layers('vision', model.config.vision.layers), ...layers('text', model.config.text.layers)];
}

/** @throws E_OPTION for a name the model does not have, E_USAGE for a missing or ill-shaped input */
export function clipForward(model: ClipModel, inputs: Inputs, names: readonly string[]): Record<string, Tensor> {
  const known = new Set(clipNames(model));
  const canonical = knownNames(names, known, (name) => aliases[name] ?? name.replace(/^vision_large\./, 'vision.'));
  const values = new Map<string, Tensor>();
  const wanted = new Set(canonical);
  const joint = [...wanted].some((name) => name.startsWith('logits'));
  const tower = (prefix: string) => [...wanted].some((name) => name.startsWith(prefix));
  if (joint || tower('vision.') || wanted.has('image_embeds')) visionValues(model, inputs, wanted, values);
  if (joint || tower('text.') || wanted.has('text_embeds')) textValues(model, inputs, wanted, values);
  if (joint) {
    const scale = model.parameters.get('logit_scale');
    if (!scale) throw new WordmaskError('E_WEIGHTS', "the weights hold no 'logit_scale', which logits need");
    const cosines = matmul(values.get('image_embeds') as Tensor, values.get('text_embeds') as Tensor, {
      transposeB: true,
    });
    const logits = mul(cosines, exp(scale.reshape(1, 1))); // [images, texts]
    values.set('logits_per_image', logits);
    values.set('logits_per_text', logits.permute(1, 0));
  }
  for (const [name, value] of values) if (/\.(hidden|attention)\.\d+$/.test(name)) adopt(value);
  return Object.fromEntries(names.map((name, i) => [name, values.get(canonical[i] as string) as Tensor]));
}

function taps(tower: string, wanted: ReadonlySet<string>, values: Map<string, Tensor>) {
  const maps = [...wanted].some((name) => name.startsWith(`${tower}.attention.`));
  return {
    hidden: (i: number, x: Tensor) => void values.set(`${tower}.hidden.${i}`, retain(x)),
    attention: maps ? (i: number, map: Tensor) => void values.set(`${tower}.attention.${i}`, retain(map)) : undefined,
  };
}

function visionValues(
  model: ClipModel,
  inputs: Inputs,
  wanted: ReadonlySet<string>,
  values: Map<string, Tensor>,
): void {
  const pixels = input(inputs, 'pixel_values');
  if (pixels.rank !== 4 || pixels.shape[1] !== 3)
    throw new WordmaskError(
      'E_USAGE',
      `inspect: pixel_values must have shape [B, 3, H, W], got [${pixels.shape.join(', ')}]`,
    );
  const { rows, grid } = model.patchRows(pixels);
  const last = model.visionBlocks(model.embedPatches(rows, grid), grid, {}, taps('vision', wanted, values));
  values.set('vision.last_hidden', last);
  const pooled = model.postNorm(last.select(1, 0)); // [B, D]
  values.set('vision.pooled', pooled);
  values.set('image_embeds', l2Normalise(model.projectPooled(pooled)));
  if (wanted.has('vision.projected_patches')) values.set('vision.projected_patches', model.project(last.slice(1, 1)));
}

function textValues(model: ClipModel, inputs: Inputs, wanted: ReadonlySet<string>, values: Map<string, Tensor>): void {
  const ids = input(inputs, 'input_ids');
  const [batch = 0, length = 0] = ids.shape;
  if (ids.rank !== 2 || length > model.config.text.positions) {
    throw new WordmaskError(
      'E_USAGE',
      `inspect: input_ids must have shape [B, L] with L up to ${model.config.text.positions}, got [${ids.shape.join(', ')}]`,
    );
  }
  const host = ids.dataSync() as Int32Array;
  const lengths = inputs.attention_mask ? keyLengths(input(inputs, 'attention_mask'), batch, length) : undefined;
  const last = model.encodeTextTokens(ids, { keyLengths: lengths, taps: taps('text', wanted, values) });
  values.set('text.last_hidden', last);
  const ends = Int32Array.from(
    { length: batch },
    (_, i) => i * length + model.endPosition(host.subarray(i * length, (i + 1) * length)),
  );
  const pooled = gather(last.reshape(batch * length, -1), Tensor.from(ends)); // [B, D]
  values.set('text.pooled', pooled);
  values.set('text_embeds', l2Normalise(model.projectText(pooled)));
}

/** A mask of ones followed by zeros, as lengths. */
function keyLengths(mask: Tensor, batch: number, length: number): Tensor {
  const host = mask.dataSync();
  const lengths = Int32Array.from({ length: batch }, (_, i) => {
    const row = host.subarray(i * length, (i + 1) * length);
    const count = row.indexOf(0);
    const valid = count < 0 ? length : count;
    if (valid === 0 || row.subarray(valid).some((x) => x !== 0)) {
      throw new WordmaskError(
        'E_USAGE',
        `inspect: attention_mask row ${i} must be ones followed by zeros (padding behind the text)`,
      );
    }
    return valid;
  });
  return Tensor.from(lengths);
}
