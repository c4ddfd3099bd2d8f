/** `ade`: grey PNG of label + 1, 0 = other (nothing); 8 bits up to 255 labels, else 16. Reads label TIFFs too. */
import { inSlices } from '../util/slices.js';
import { fileBytes, type LabelFormat, labelArray } from './format.js';
import { completeResult, readLabelImage, writeGrey } from './label-png.js';

export const ade: LabelFormat = {
  name: 'ade',
  extension: '.png',
  write: (result, options = {}) => writeGrey('ade', result, { shift: 1, nothing: 'zero' }, options.signal),
  async read(input, options = {}) {
    const image = await readLabelImage(fileBytes(input, '.png', 'ade'), 'ade', options.signal);
    const { data } = image;
    const labels = await labelArray(image.bitDepth === 16 ? 256 : 255, data.length, options.signal);
    await inSlices(
      data.length,
      1 << 20,
      (begin, end) => {
        for (let i = begin; i < end; i++) if (data[i] !== 0) labels[i] = (data[i] as number) - 1;
      },
      options.signal,
    );
    return completeResult(image, labels, options);
  },
};
