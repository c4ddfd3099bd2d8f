/** `npy`: one plane of a result in full precision, as NumPy's file; `labels` unless told otherwise. No names, no provenance. */

import { show, WordmaskError } from '../util/errors.js';
import { encodeNpy, parseNpy } from '../weights/npy.js';
import { checkResult, fileBytes, type LabelFormat } from './format.js';
import { checkedLegend, presentLabels } from './label-png.js';
import { labelPlane, planeOf } from './planes.js';

export const npy: LabelFormat = {
  name: 'npy',
  extension: '.npy',
  async write(result, options = {}) {
    checkResult(result);
    const { data, shape } = planeOf(result, options.plane ?? 'labels');
    return encodeNpy(data, shape);
  },
  async read(input, options = {}) {
    const { data, shape } = parseNpy(fileBytes(input, '.npy', 'npy'), 'npy');
    if (shape.length !== 2 || data instanceof Float32Array || data instanceof Float64Array) {
      throw new WordmaskError(
        'E_USAGE',
        `labels are a whole-number array [H, W], this npy file holds ${data.constructor.name} ${show(shape)}`,
      );
    }
    const labels = await labelPlane(data, options.legend, options.signal);
    const legend = await checkedLegend(options.legend, await presentLabels(labels, options.signal));
    return { width: shape[1] as number, height: shape[0] as number, labels, legend };
  },
};
