/** Options of the system of a call, and the picture of a call: the same for every kind of system. */
import { type DecodedImage, decodeImage, type ImageInput } from '../image/decode.js';
import type { DensePreset } from '../post/dense-system.js';
import { show, WordmaskError } from '../util/errors.js';
import { nearest } from '../util/nearest.js';
import type { CheckedOptions } from './segment-options.js';

interface Module<Options> {
  readonly info: { readonly name: string };
  readonly presets: Readonly<Record<string, DensePreset>>;
  check(...layers: readonly (Readonly<Record<string, unknown>> | undefined)[]): Options;
}

/** Options of a call: defaults < preset < model folder < call. @throws E_OPTION */
export function systemOptions<Options>(
  module: Module<Options>,
  fileOptions: Readonly<Record<string, unknown>>,
  call: Readonly<Record<string, unknown>>,
  preset: string | undefined,
): Options {
  const { presets } = module;
  if (preset !== undefined && !Object.hasOwn(presets, preset)) {
    const guess = nearest(preset, Object.keys(presets));
    throw new WordmaskError(
      'E_OPTION',
      `${module.info.name} has no preset ${show(preset)}${guess ? `; did you mean '${guess}'?` : ''} (known: ${Object.keys(presets).join(', ')})`,
      { details: { option: 'preset', value: preset } },
    );
  }
  return module.check(preset === undefined ? undefined : presets[preset]?.options, fileOptions, call);
}

export function decodeFor(image: ImageInput, options: CheckedOptions['common']): Promise<DecodedImage> {
  return decodeImage(image, {
    matte: options.matte,
    formats: options.formats,
    limits: options.limits,
    signal: options.signal,
  });
}
