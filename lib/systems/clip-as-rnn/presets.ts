/** Settings of the published configs (google-research clip_as_rnn/configs/*.yaml). */
import type { DensePreset } from '../../post/dense-system.js';

const source = (file: string): string => `google-research clip_as_rnn/configs/${file}.yaml; arXiv 2312.07661`;

export const presets: Readonly<Record<string, DensePreset>> = {
  voc21: {
    options: {
      confidenceThreshold: 0.6,
      clipesThreshold: 0.4,
      maskThreshold: 0.4,
      visualPromptType: ['circle', 'blur'],
    },
    source: source('voc_test'),
    classes: 'voc21',
  },
  'coco-object': {
    options: {
      confidenceThreshold: 0.3,
      clipesThreshold: 0.5,
      maskThreshold: 0.5,
      visualPromptType: ['blur', 'gray'],
    },
    source: source('coco'),
    classes: 'coco-object',
  },
  pc60: {
    options: {
      confidenceThreshold: 0.25,
      clipesThreshold: 0.4,
      maskThreshold: 0.6,
      visualPromptType: ['blur', 'circle'],
      stuffVisualPromptType: ['blur', 'gray'],
      stuff: 'pc59',
    },
    source: source('context'),
    classes: 'pc60',
  },
  ade150: {
    options: {
      confidenceThreshold: 0.25,
      clipesThreshold: 0.7,
      maskThreshold: 0.6,
      visualPromptType: ['gray', 'blur'],
      stuffVisualPromptType: ['gray', 'blur'],
      stuff: 'ade150',
    },
    source: source('ade'),
    classes: 'ade150',
  },
  refcoco: {
    options: {
      mode: 'refer',
      confidenceThreshold: 0.3,
      clipesThreshold: 0.5,
      maskThreshold: 0.5,
      visualPromptType: ['circle'],
      semanticTemplates: [],
    },
    source: source('refcoco'),
    classes: 'none: the sentences of the data set',
  },
};
