/**
 * Random changes of training pictures: RandAugment (arXiv 1909.13719) with the operations and ranges of timm's
 * `rand-mM-mstdS-inc1`, colour jitter as torchvision's without hue, random erasing (arXiv 1708.04896) by noise. Differences:
 * geometric operations are always bilinear; noise is drawn on the 8-bit values, so that it is cut at black and white.
 */
import type { Random } from '../util/random.js';
import {
  affine,
  autoContrast,
  brightness,
  contrast,
  equalise,
  invert,
  posterise,
  rotation,
  type Square,
  saturation,
  sharpness,
  solarise,
  solariseAdd,
} from './point-ops.js';

export interface AugmentOptions {
  /** Operations a picture gets, each with a chance of one half; 0 leaves RandAugment out. */
  readonly operations: number;
  /** Their strength, 0 to 10, and how much it varies. */
  readonly magnitude: number;
  readonly deviation: number;
  /** Brightness, contrast and saturation change by a factor of up to 1 +- this. */
  readonly jitter: number;
  /** How often a rectangle is replaced by noise. */
  readonly erase: number;
}

/** ImageNet's, times 255: fills what a geometric operation uncovers, and is the middle of the noise. */
const mean = [124, 116, 104];
const deviation = [58, 57, 57];

/** `level` from 0 to 1; `signed` is it with a random sign. */
type Operation = (image: Square, level: number, signed: number) => void;

const operations: readonly Operation[] = [
  autoContrast,
  equalise,
  invert,
  (image, _, signed) => affine(image, rotation(image.side, 30 * signed), mean),
  (image, level) => posterise(image, 4 - Math.trunc(4 * level)),
  (image, level) => solarise(image, 256 - Math.trunc(256 * level)),
  (image, level) => solariseAdd(image, Math.trunc(110 * level)),
  (image, _, signed) => saturation(image, 1 + 0.9 * signed),
  (image, _, signed) => contrast(image, 1 + 0.9 * signed),
  (image, _, signed) => brightness(image, 1 + 0.9 * signed),
  (image, _, signed) => sharpness(image, 1 + 0.9 * signed),
  (image, _, signed) => affine(image, [1, 0.3 * signed, 0, 0, 1, 0], mean),
  (image, _, signed) => affine(image, [1, 0, 0, 0.3 * signed, 1, 0], mean),
  (image, _, signed) => affine(image, [1, 0, 0.45 * signed * image.side, 0, 1, 0], mean),
  (image, _, signed) => affine(image, [1, 0, 0, 0, 1, 0.45 * signed * image.side], mean),
];

export function augments({ operations, jitter, erase }: AugmentOptions): boolean {
  return operations > 0 || jitter > 0 || erase > 0;
}

/** Changes a square picture in place, a function of the options and of the random stream alone. */
export function augment(image: Square, options: AugmentOptions, random: Random): void {
  for (let k = 0; k < options.operations; k++) {
    const operation = random.pick(operations);
    if (random.chance(0.5)) continue;
    const level = Math.min(10, Math.max(0, options.magnitude + options.deviation * random.normal())) / 10;
    operation(image, level, random.chance(0.5) ? -level : level);
  }
  const { jitter } = options;
  if (jitter > 0)
    for (const change of random.shuffle([brightness, contrast, saturation]))
      change(image, random.uniform(Math.max(0, 1 - jitter), 1 + jitter));
  if (random.chance(options.erase)) erase(image, random);
}

/** A rectangle of 2 to 33% of the area and a side ratio of 0.3 to 3.3; nothing where ten draws do not fit. */
function erase({ data, side }: Square, random: Random): void {
  for (let draw = 0; draw < 10; draw++) {
    const area = random.uniform(0.02, 1 / 3) * side * side;
    const ratio = Math.exp(random.uniform(Math.log(0.3), -Math.log(0.3)));
    const [height, width] = [Math.round(Math.sqrt(area * ratio)), Math.round(Math.sqrt(area / ratio))];
    if (height < 1 || width < 1 || height >= side || width >= side) continue;
    const [top, left] = [random.int(side - height + 1), random.int(side - width + 1)];
    for (let y = top; y < top + height; y++)
      for (let at = 3 * (y * side + left); at < 3 * (y * side + left + width); at++) {
        const c = at % 3;
        const value = Math.round((mean[c] as number) + (deviation[c] as number) * random.normal());
        data[at] = Math.min(255, Math.max(0, value));
      }
    return;
  }
}
