/** `voc`: 8-bit palette PNG with the VOC colour map; the palette index is the label, 255 = void. */
import { vocPalette } from '../image/palette.js';
import { writePng } from '../image/png.js';
import { WordmaskError } from '../util/errors.js';
import { checkResult, fileBytes, type LabelFormat, labelCount, textOf } from './format.js';
import { completeResult, mapLabels, readSingleChannel } from './label-png.js';

export const voc: LabelFormat = {
  name: 'voc',
  extension: '.png',
  async write(result, options = {}) {
    checkResult(result);
    const count = labelCount(result.legend);
    if (count > 255)
      throw new WordmaskError(
        'E_OPTION',
        `voc holds at most 255 labels, got ${count}: write png, which goes up to 65535`,
      );
    const { width, height, labels } = result;
    const data = await mapLabels(labels, count, new Uint8Array(labels.length), 0, 255, options.signal);
    return writePng(
      { width, height, kind: 'palette', data, palette: vocPalette() },
      { text: textOf(result), signal: options.signal },
    );
  },
  async read(input, options = {}) {
    const image = await readSingleChannel(fileBytes(input, '.png', 'voc'), 'voc', options.signal);
    if (image.bitDepth > 8)
      throw new WordmaskError(
        'E_IMAGE_FORMAT',
        'a voc label map has at most 8 bits a pixel, this PNG has 16: read it as png or ade',
      );
    return completeResult(image, image.data, options);
  },
};
