/**
 * PnP-OVSS (Luo, Khandelwal, Sigal, Li: "Emergent Open-Vocabulary Semantic Segmentation from Off-the-shelf Vision-Language Models",
 * CVPR 2024, arXiv 2311.17095): the gradient of an image-text match with respect to one head's cross-attention says where the words
 * of a caption are; what was seen first is blanked and the model asked again (Salience DropOut). Nothing is trained. Two versions of
 * the published code exist, both are options. Deliberate differences are listed in docs/pnp-ovss.md.
 */
import type { PredictorSystemModule } from '../types.js';
import { ClipClasses } from './clip-classes.js';
import { defaults, pnpOptionNames, pnpOptions } from './options.js';
import { PnpPredictor } from './predictor.js';
import { presets } from './presets.js';
import { search } from './search.js';

/** On a device; on the CPU one picture of 442 patches fills the kernels, and four take 96% of the time of four alone. */
const picturesTogether = 8;

export const pnpOvss: PredictorSystemModule = {
  info: {
    name: 'pnp-ovss',
    title: 'PnP-OVSS',
    paper: 'arXiv 2311.17095',
    year: 2024,
    kind: 'semantic',
    supervision: 'none',
    backbones: ['blip', 'albef', 'mplug', 'bridgetower'],
    licence: { code: 'none published', weights: 'BSD-3-Clause (BLIP, ALBEF), MIT (BridgeTower), see the model' },
    tasks: ['semantic'],
    separable: false,
  },
  defaults,
  presets,
  tuning: { search },
  optionNames: pnpOptionNames,
  dtypes: ['f32'],
  roles: [{ name: 'clip', backbones: ['clip'], optional: true }],
  check: pnpOptions,
  async open({ openers, folders, device }) {
    const model = await openers.matching('main');
    try {
      const clip = folders.clip && (await openers.clip('clip'));
      const together = device === 'cpu' ? 1 : picturesTogether;
      const width = Math.round(Math.sqrt(model.parametersBytes / 4 / 400));
      return {
        predictor: new PnpPredictor(model, clip && new ClipClasses(clip), together),
        atOnce: together,
        sizes: {
          patch: model.patch,
          image: model.imageSize,
          embed: width,
          width,
          parametersBytes: model.parametersBytes,
        },
        hash: model.hash,
        dispose: () => {
          model.dispose();
          clip?.dispose();
        },
      };
    } catch (error) {
      model.dispose();
      throw error;
    }
  },
};
