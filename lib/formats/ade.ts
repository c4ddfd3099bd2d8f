/** `ade`: grey PNG of label + 1, 0 = other (nothing); 8 bits up to 255 labels, else 16. */
import { writePng } from '../image/png.js';
import { WordmaskError } from '../util/errors.js';
import { inSlices } from '../util/slices.js';
import { checkResult, fileBytes, type LabelFormat, labelArray, labelCount, textOf } from './format.js';
import { completeResult, mapLabels, readSingleChannel } from './label-png.js';

export const ade: LabelFormat = {
  name: 'ade',
  extension: '.png',
  async write(result, options = {}) {
    checkResult(result);
    const count = labelCount(result.legend);
    if (count > 65_535)
      throw new WordmaskError('E_OPTION', `ade holds at most 65535 labels, got ${count}: write npy or safetensors`);
    const { width, height, labels } = result;
    const data =
      count <= 255
        ? await mapLabels(labels, count, new Uint8Array(labels.length), 1, 0, options.signal)
        : await mapLabels(labels, count, new Uint16Array(labels.length), 1, 0, options.signal);
    return writePng({ width, height, kind: 'grey', data }, { text: textOf(result), signal: options.signal });
  },
  async read(input, options = {}) {
    const image = await readSingleChannel(fileBytes(input, '.png', 'ade'), 'ade', options.signal);
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
