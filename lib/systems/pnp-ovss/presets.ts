/**
 * Settings of the published scripts. `v4-*`: the repository at HEAD (Run_seg*.sh, blip_itm_large.yaml), which its README says gives
 * the tables of version 4 of the paper, where the classes of a picture came from GPT-4o: `classProvider: 'json'` with the authors'
 * files. `v2-*`: the repository as of May 2024 (*_halving.sh), whose figures kept the maps of the true classes alone:
 * `classProvider: 'oracle'`. Which of 0.1 and 0.15 its scripts took for which data set could not be read: 0.15 for all.
 */
import { crfSettings } from '../../post/dense-crf.js';
import type { DensePreset } from '../../post/dense-system.js';

const head = 'letitiabanana/PnP-OVSS at HEAD, Run_seg.sh and Run_seg_coco.sh; arXiv 2311.17095v4';
const old = 'letitiabanana/PnP-OVSS of May 2024, *_halving.sh; arXiv 2311.17095v2';

type Rule = 'always' | 'fewer-than-3';

const v4 = (classes: string, backgroundChannel: Rule, options: object = {}): DensePreset => ({
  options: { backgroundChannel, ...options },
  source: head,
  classes,
});

const v2 = (classes: string, backgroundChannel: Rule, crf: object = crfSettings.pnpOvssEarlier): DensePreset => ({
  options: {
    imageSize: 768,
    passes: 5,
    drop: { kind: 'half' },
    blank: 'black',
    binarise: true,
    unary: 'maps',
    caption: 'all',
    backgroundChannel,
    crf,
  },
  source: old,
  classes,
});

export const presets: Readonly<Record<string, DensePreset>> = {
  'v4-voc21': v4('voc21', 'always'),
  'v4-pc59': v4('pc59', 'fewer-than-3'),
  'v4-ade150': v4('ade150-pnp-ovss', 'fewer-than-3', { resize: 'bilinear' }),
  'v4-coco-object': v4('coco-object', 'always'),
  'v4-coco-stuff': v4('coco-stuff', 'fewer-than-3'),
  'v2-voc21': v2('voc21', 'always'),
  'v2-pc59': v2('pc59', 'fewer-than-3'),
  'v2-ade150': v2('ade150-pnp-ovss', 'fewer-than-3'),
  'v2-coco-object': v2('coco-object', 'always'),
  'v2-coco-stuff': v2('coco-stuff', 'fewer-than-3', crfSettings.pnpOvssEarlierCocoStuff),
  'v2-cityscapes': v2('cityscapes', 'fewer-than-3'),
};
