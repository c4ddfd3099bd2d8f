/**
 * Protocols as data (evaluation.md sections 1 to 4; naclip.md, dense-clip-baselines.md, mgca.md, pnp-ovss.md section 12,
 * clip-as-rnn.md section 10): what each says about counting, pictures, words and background, by data set where it differs.
 */
import type { BackgroundWording } from '../data/class-words.js';
import type { LabelRule } from '../data/dataset.js';
import type { Protocol, ProtocolName } from './protocol.js';

/** What a protocol says about how a picture is read and worded; what it leaves open is the system's own. */
export interface PictureRules {
  readonly templates?: Protocol['templates'];
  readonly average?: Protocol['average'];
  readonly resize?: Protocol['resize'];
  readonly window?: Protocol['window'];
  readonly systemOptions?: Protocol['systemOptions'];
}

export interface ProtocolRules {
  readonly evaluator: Protocol['evaluator'];
  readonly absent: Protocol['absent'];
  /** Rule that a data set is opened with. */
  readonly labels: LabelRule;
  readonly merge: Protocol['merge'];
  /** How a class "background" is worded where a list has no words for it. */
  readonly background: BackgroundWording;
  /** Data set -> list of words; otherwise the data set's own names. */
  readonly queries: Readonly<Record<string, string>>;
  /** Thresholds of the data sets with a background, where the system publishes none of its own. */
  readonly thresholds: Readonly<Record<string, number>>;
  readonly picture: PictureRules;
  /** What differs for some data sets. */
  readonly pictureOf?: Readonly<Record<string, PictureRules>>;
}

const imageNet = { mean: [123.675, 116.28, 103.53], std: [58.395, 57.12, 57.375] } as const;
const clip = { mean: [122.771, 116.746, 104.094], std: [68.501, 66.632, 70.323] } as const;
const keepRatio = (shortSide: number): NonNullable<Protocol['resize']> => ({
  mode: 'keep-ratio',
  shortSide,
  longSide: 2048,
  multiple: 1,
});
/** Query lists of SCLIP, NACLIP and ClearCLIP (naclip.md section 9); Context is worded by its class names. */
const sclipQueries = Object.fromEntries(
  ['voc21', 'voc20', 'coco-object', 'coco-stuff', 'cityscapes', 'ade150'].map((name) => [
    name,
    `${name}-queries-sclip`,
  ]),
);

export const protocols: Readonly<Record<ProtocolName, ProtocolRules>> = {
  tcl: {
    evaluator: 'mmseg',
    absent: 'zero',
    labels: 'tcl',
    merge: 'cosine',
    // With-background sets word classes[1:] (section 3).
    background: 'none',
    queries: {},
    // GroupViT's, which section 4 gives for the same rule.
    thresholds: { voc21: 0.95, pc60: 0.35, 'coco-object': 0.95 },
    picture: {
      templates: 'tcl-custom',
      average: 'mean-normalise',
      resize: keepRatio(448),
      window: { crop: 448, stride: 224 },
      systemOptions: { mean: [...imageNet.mean], std: [...imageNet.std] },
    },
  },
  sclip: {
    evaluator: 'mmseg',
    absent: 'zero',
    labels: 'tcl',
    merge: 'cosine',
    // Context lists the word itself as class 0.
    background: 'listed',
    queries: sclipQueries,
    thresholds: { voc21: 0.1, pc60: 0.1, 'coco-object': 0.1 },
    picture: {
      templates: 'imagenet-80',
      average: 'normalise-mean-normalise',
      resize: keepRatio(336),
      window: { crop: 224, stride: 112 },
      systemOptions: { mean: [...clip.mean], std: [...clip.std] },
    },
    pictureOf: { cityscapes: { resize: keepRatio(560) } },
  },
  d2: {
    evaluator: 'd2',
    absent: 'skip',
    labels: 'd2',
    merge: 'none',
    background: 'listed',
    queries: { pas21: 'voc21-synonyms', pas20b: 'pas20b-queries' },
    thresholds: {},
    picture: {
      resize: { mode: 'short-side', shortSide: 640, longSide: 2560, multiple: 32 },
      window: { crop: 0, stride: 0 },
    },
  },
  'pnp-ovss': {
    evaluator: 'd2',
    absent: 'skip',
    labels: 'pnp-ovss',
    merge: 'none',
    background: 'none',
    queries: { voc21: 'voc20-pnp-ovss', voc20: 'voc20-pnp-ovss', ade150: 'ade150-pnp-ovss' },
    thresholds: {},
    picture: {
      resize: { mode: 'squash', shortSide: 336, longSide: 336, multiple: 1 },
      window: { crop: 0, stride: 0 },
    },
  },
  car: {
    evaluator: 'd2',
    absent: 'skip',
    labels: 'car',
    merge: 'none',
    background: 'none',
    queries: {},
    thresholds: {},
    picture: {
      resize: { mode: 'round-up', shortSide: null, longSide: null, multiple: 16 },
      window: { crop: 0, stride: 0 },
    },
  },
};

/** The protocol that a system's published rows follow. */
const ofSystem: Readonly<Record<string, ProtocolName>> = {
  clip: 'sclip',
  maskclip: 'sclip',
  sclip: 'sclip',
  clearclip: 'sclip',
  naclip: 'sclip',
  mgca: 'tcl',
  tcl: 'tcl',
  groupvit: 'tcl',
  simzss: 'tcl',
  'pnp-ovss': 'pnp-ovss',
  'clip-as-rnn': 'car',
  san: 'd2',
  'fc-clip': 'd2',
  maft: 'd2',
  'maft-plus': 'd2',
  mrovseg: 'd2',
};

/** Data sets that are scored by detectron2's rules whatever the system (evaluation.md section 1). */
const countedByD2 = new Set(['pas20', 'pas21', 'pas20b', 'pc459', 'ade847', 'coco-panoptic', 'ade-panoptic']);

/** The protocol of a system's own rows on a data set; systems of third parties count as mmsegmentation does. */
export function usualProtocol(system: string, dataset: string): ProtocolName {
  const own = ofSystem[system] ?? 'tcl';
  return countedByD2.has(dataset) ? 'd2' : own;
}

/** Data sets with the classes and pictures of another, whose published settings serve them too. */
export const presetAlias: Readonly<Record<string, string>> = { pas20: 'voc20', pas21: 'voc21' };

/** Names that a system's preset for a data set may have; the first that is there counts. */
export function presetNames(dataset: string): string[] {
  const alias = presetAlias[dataset];
  // PnP-OVSS names its settings by version of the paper; those of Context serve it with and without background.
  const context = dataset === 'pc60' ? ['v4-pc59'] : [];
  return [dataset, ...(alias === undefined ? [] : [alias]), `v4-${dataset}`, ...context];
}
