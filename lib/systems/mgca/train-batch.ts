/** Pairs to arrays: a random part of each picture, and one text of each (a caption, or a prompt of one of its nouns). */
import { noGrad, resize, scope, Tensor } from '../../engine/index.js';
import { augment, augments } from '../../image/augment.js';
import type { PairImage, PairSample, StepContext } from '../../nn/trainable.js';
import { fillTemplate, type NounFinder, type Tokenizer } from '../../text/index.js';
import type { Random } from '../../util/random.js';
import { Slices } from '../../util/slices.js';
import type { MgcaTrainModel } from './train-options.js';

export interface MgcaPlan extends Pick<MgcaTrainModel, 'crop' | 'flip' | 'augment' | 'prompts' | 'promptTemplates'> {
  /** Side of the square pictures. */
  readonly side: number;
  /** Tokens of the longest text. */
  readonly context: number;
  readonly tokenizer: Tokenizer;
  readonly finder?: NounFinder;
}

export type MgcaBatch = {
  /** u8 [B * side, side, 3]: the pictures, one below the other. */
  readonly pixels: { data: Uint8Array; shape: readonly number[] };
  /** i32 [B, L], padded behind each text's end. */
  readonly ids: { data: Int32Array; shape: readonly number[] };
  /** Tokens of each text, i32 [B]. */
  readonly lengths: { data: Int32Array; shape: readonly number[] };
};

export async function prepareMgcaBatch(
  samples: readonly PairSample[],
  plan: MgcaPlan,
  context: StepContext,
): Promise<MgcaBatch> {
  const { side, tokenizer } = plan;
  const words = context.random.fork('text');
  const rows = tokenizer.encode(
    samples.map((sample) => chooseText(sample, plan, words)),
    { maxLength: plan.context },
  );
  const length = Math.max(...rows.map((row) => row.length));
  const ids = new Int32Array(rows.length * length).fill(tokenizer.padId);
  rows.forEach((row, i) => {
    ids.set(row, i * length);
  });
  return {
    pixels: {
      data: await pictures(samples, plan, context.random),
      shape: [samples.length * side, side, 3],
    },
    ids: { data: ids, shape: [rows.length, length] },
    lengths: { data: Int32Array.from(rows, (row) => row.length), shape: [rows.length] },
  };
}

/**
 * One of the caption and `prompts` texts made from nouns, all alike probable; where a picture has fewer nouns the caption
 * stands in for the missing ones (GroupViT's rule).
 */
export function chooseText(
  sample: Pick<PairSample, 'captions' | 'nouns'>,
  plan: Pick<MgcaPlan, 'prompts' | 'promptTemplates' | 'finder'>,
  random: Random,
): string {
  const caption = random.pick(sample.captions);
  const choice = random.int(plan.prompts + 1);
  if (choice === 0) return caption;
  const { finder } = plan;
  const found = sample.nouns ?? finder?.find(caption).map((noun) => finder.nouns[noun]?.name as string) ?? [];
  const noun = random.shuffle([...new Set(found)])[choice - 1];
  return noun === undefined ? caption : fillTemplate(random.pick(plan.promptTemplates), noun);
}

/** Pictures on the device at once. */
const queued = 64;

async function pictures(samples: readonly PairSample[], plan: MgcaPlan, stream: Random): Promise<Uint8Array> {
  const { side } = plan;
  const random = stream.fork('crop');
  const changes = stream.fork('augment');
  const slices = new Slices();
  const bytes = side * side * 3;
  const all = new Uint8Array(samples.length * bytes);
  const places = samples.map(({ image }) => ({
    box: cropBox(image, plan.crop, random),
    flip: random.chance(plan.flip),
  }));
  for (let begin = 0; begin < samples.length; begin += queued) {
    // A group is queued before its first is read.
    await Promise.all(
      samples.slice(begin, begin + queued).map(async ({ image }, k) => {
        const i = begin + k;
        const { box, flip } = places[i] as (typeof places)[number];
        const own = all.subarray(i * bytes, (i + 1) * bytes);
        own.set(await cropped(image, box, side));
        if (flip) mirror(own, side);
        if (!augments(plan.augment)) return;
        if (slices.due) await slices.pause();
        augment({ data: own, side }, plan.augment, changes.fork(i));
      }),
    );
  }
  return all;
}

export interface Box {
  readonly top: number;
  readonly left: number;
  readonly height: number;
  readonly width: number;
}

/** A part of random area and of a side ratio between 3/4 and 4/3; the largest centred square-like part where ten draws do not fit. */
export function cropBox({ width, height }: PairImage, [least, most]: readonly [number, number], random: Random): Box {
  for (let draw = 0; draw < 10; draw++) {
    const area = width * height * random.uniform(least, most);
    const wide = random.uniform(1, 4 / 3);
    const ratio = random.chance(0.5) ? wide : 1 / wide;
    const [w, h] = [Math.round(Math.sqrt(area * ratio)), Math.round(Math.sqrt(area / ratio))];
    if (w < 1 || h < 1 || w > width || h > height) continue;
    return { top: random.int(height - h + 1), left: random.int(width - w + 1), height: h, width: w };
  }
  const w = Math.max(1, Math.min(width, Math.round((height * 4) / 3)));
  const h = Math.max(1, Math.min(height, Math.round((width * 4) / 3)));
  return { top: Math.floor((height - h) / 2), left: Math.floor((width - w) / 2), height: h, width: w };
}

/** The box at side x side, antialiased bicubic on 8-bit values. */
function cropped({ data, width, height }: PairImage, box: Box, side: number): Promise<Uint8Array> {
  return noGrad(() =>
    scope(async () => {
      const part = Tensor.from(data, [height, width, 3], 'u8')
        .slice(0, box.top, box.top + box.height)
        .slice(1, box.left, box.left + box.width)
        .contiguous();
      const same = box.height === side && box.width === side;
      return (await (same
        ? part
        : resize(part, { width: side, height: side, mode: 'pil_bicubic' })
      ).data()) as Uint8Array;
    }),
  );
}

function mirror(pixels: Uint8Array, side: number): void {
  for (let row = 0; row < side; row++) {
    for (let a = row * side, b = a + side - 1; a < b; a++, b--) {
      for (let c = 0; c < 3; c++) {
        const held = pixels[3 * a + c] as number;
        pixels[3 * a + c] = pixels[3 * b + c] as number;
        pixels[3 * b + c] = held;
      }
    }
  }
}
