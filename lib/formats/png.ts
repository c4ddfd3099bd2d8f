/** `png`: 8-bit grey up to 255 labels, else 16-bit grey; the highest value of the depth = nothing. */
import { writePng } from '../image/png.js';
import { WordmaskError } from '../util/errors.js';
import { checkResult, fileBytes, type LabelFormat, labelCount, textOf } from './format.js';
import { completeResult, mapLabels, readSingleChannel } from './label-png.js';

export const png: LabelFormat = {
  name: 'png',
  extension: '.png',
  async write(result, options = {}) {
    checkResult(result);
    const count = labelCount(result.legend);
    if (count > 65_535)
      throw new WordmaskError('E_OPTION', `png holds at most 65535 labels, got ${count}: write npy or safetensors`);
    const { width, height, labels } = result;
    const data =
      count <= 255
        ? await mapLabels(labels, count, new Uint8Array(labels.length), 0, 255, options.signal)
        : await mapLabels(labels, count, new Uint16Array(labels.length), 0, 65_535, options.signal);
    return writePng({ width, height, kind: 'grey', data }, { text: textOf(result), signal: options.signal });
  },
  async read(input, options = {}) {
    const image = await readSingleChannel(fileBytes(input, '.png', 'png'), 'png', options.signal);
    return completeResult(image, image.data, options);
  },
};
