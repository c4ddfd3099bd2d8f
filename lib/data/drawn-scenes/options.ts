/** Options of a scene: checked, with the defaults of the split that its seed lies in. */

import { show, WordmaskError } from '../../util/errors.js';
import { nearest } from '../../util/nearest.js';
import { type SplitName, splitOfSeed } from './splits.js';

export interface SceneSize {
  readonly width: number;
  readonly height: number;
}

export interface SceneOptions {
  /** Pixels; a number is a square. 96 for train and val, 192 x 128 for the test splits. Below 96 the drawing is 1.5 times larger and averaged. */
  readonly size?: number | SceneSize;
  /** Probability of a thing's typical colour (0.6). */
  readonly typicalColour?: number;
  /** Share of close-ups: 0.5 for train, else 0. */
  readonly closeUps?: number;
  /** Share of scenes seen through a zoom of 1 to 2: 0.6 for train, else 0. */
  readonly camera?: number;
  /** `paper`: outlines, stuff with inverted lightness, paper; the default of `test-style`. Else `plain`. */
  readonly style?: 'plain' | 'paper';
}

export interface ResolvedOptions extends SceneSize {
  readonly split: SplitName;
  readonly typicalColour: number;
  readonly closeUps: number;
  readonly camera: number;
  readonly style: 'plain' | 'paper';
}

const names = ['size', 'typicalColour', 'closeUps', 'camera', 'style'] as const;

/** @throws E_OPTION naming the option, its value and what is allowed */
export function resolveOptions(seed: number, options: SceneOptions): ResolvedOptions {
  for (const key of Object.keys(options)) {
    if ((names as readonly string[]).includes(key)) continue;
    const near = nearest(key, names);
    throw new WordmaskError('E_OPTION', `a scene has no option ${show(key)}${near ? `; did you mean ${near}?` : ''}`);
  }
  const split = splitOfSeed(seed);
  const training = split === 'train';
  const style = options.style ?? (split === 'test-style' ? 'paper' : 'plain');
  if (style !== 'plain' && style !== 'paper')
    throw new WordmaskError('E_OPTION', `style must be plain or paper, got ${show(style)}`);
  return {
    ...resolveSize(split, options.size),
    split,
    typicalColour: probability('typicalColour', options.typicalColour ?? 0.6),
    closeUps: probability('closeUps', options.closeUps ?? (training ? 0.5 : 0)),
    camera: probability('camera', options.camera ?? (training ? 0.6 : 0)),
    style,
  };
}

export function resolveSize(split: SplitName, size: SceneOptions['size']): SceneSize {
  const plain = split === 'train' || split === 'val';
  const { width, height } =
    size === undefined
      ? plain
        ? { width: 96, height: 96 }
        : { width: 192, height: 128 }
      : typeof size === 'number'
        ? { width: size, height: size }
        : size;
  for (const [name, value] of [
    ['width', width],
    ['height', height],
  ] as const) {
    if (!Number.isInteger(value) || value < 16 || value > 4096)
      throw new WordmaskError(
        'E_OPTION',
        `${name} of a scene must be a whole number from 16 to 4096, got ${show(value)}`,
      );
  }
  if (Math.max(width, height) > 4 * Math.min(width, height))
    throw new WordmaskError('E_OPTION', `a scene may be at most four times as long as wide, got ${width} x ${height}`);
  return { width, height };
}

/** The size that is drawn: pictures whose shorter side is under 96 are drawn 1.5 times larger, then averaged. */
export function drawnSize({ width, height }: SceneSize): SceneSize {
  if (Math.min(width, height) >= 96) return { width, height };
  return { width: Math.ceil(width * 1.5), height: Math.ceil(height * 1.5) };
}

function probability(name: string, value: number): number {
  if (!(value >= 0 && value <= 1))
    throw new WordmaskError('E_OPTION', `${name} must be a probability from 0 to 1, got ${show(value)}`);
  return value;
}
