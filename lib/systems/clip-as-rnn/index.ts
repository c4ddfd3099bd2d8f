/**
 * CLIP as RNN (Sun, Li, Torr, Gu, Li: "CLIP as RNN: Segment Countless Visual Concepts without Training Endeavor", CVPR 2024,
 * arXiv 2312.07661): maps of all texts from the gradients of one CLIP, each drawn into the picture and scored by another; texts
 * that score low leave, until their number stays. Deliberate differences are listed in docs/clip-as-rnn.md.
 */

import { sha256 } from '../../util/files.js';
import type { PredictorSystemModule } from '../types.js';
import { carOptionNames, carOptions, defaults } from './options.js';
import { CarPredictor } from './predictor.js';
import { presets } from './presets.js';

export const clipAsRnn: PredictorSystemModule = {
  info: {
    name: 'clip-as-rnn',
    title: 'CLIP as RNN',
    paper: 'arXiv 2312.07661',
    year: 2024,
    kind: 'semantic',
    supervision: 'none',
    backbones: ['clip'],
    licence: { code: 'Apache-2.0', weights: 'MIT (OpenAI)' },
    tasks: ['semantic'],
    separable: false,
  },
  defaults,
  presets,
  optionNames: carOptionNames,
  dtypes: ['f32'],
  roles: [{ name: 'scoring', backbones: ['clip'], optional: true }],
  check: carOptions,
  async open({ openers, folders }) {
    const cam = await openers.clipTowers('main');
    try {
      const scoring = folders.scoring ? await openers.clipTowers('scoring') : cam;
      const { vision, embed } = cam.config;
      return {
        predictor: new CarPredictor(cam, scoring),
        sizes: {
          patch: vision.patch,
          image: vision.imageSize,
          embed,
          width: vision.width,
          parametersBytes: cam.bytes + (scoring === cam ? 0 : scoring.bytes),
        },
        hash: scoring === cam ? cam.hash : sha256(`${cam.hash}\n${scoring.hash}`),
        dispose: () => {
          cam.model.dispose();
          if (scoring !== cam) scoring.model.dispose();
        },
      };
    } catch (error) {
      cam.model.dispose();
      throw error;
    }
  },
};
