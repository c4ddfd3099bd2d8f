/** ADE20K with 150 classes (evaluation.md section 8); under `pnp-ovss` the unlabelled pixels are a class of their own. */
import { classList } from '../text/lists.js';
import { type DatasetSpec, type Layout, pictureSuffixes, unasked } from './types/spec.js';

const folders: Readonly<Record<string, string>> = { val: 'validation', train: 'training' };

function layouts(split: string, truth: string, stored: string): readonly Layout[] {
  const folder = folders[split] ?? split;
  return [
    {
      name: truth === 'annotations' ? 'ADEChallengeData2016' : `ADEChallengeData2016 (${truth})`,
      base: 'ade/ADEChallengeData2016',
      images: [`images/${folder}`],
      imageSuffixes: pictureSuffixes,
      truth: `${truth}/${folder}`,
      truthFiles: [{ suffix: '.png', stored }],
      members: 'both',
    },
  ];
}

export const ade150: DatasetSpec = {
  name: 'ade150',
  kind: 'semantic',
  splits: ['val', 'train'],
  rules: ['tcl', 'd2', 'pnp-ovss', 'car'],
  published: { val: 2000 },
  layouts: (split, rule) => {
    const raw = layouts(split, 'annotations', 'raw');
    if (rule === 'pnp-ovss') return raw;
    const prepared = layouts(split, 'annotations_detectron2', 'reduced');
    return rule === 'd2' ? [...prepared, ...raw] : [...raw, ...prepared];
  },
  stored: (kind, rule) => {
    const plain = { bits: 8, ignore: 255, labelMap: 'none' } as const;
    if (kind === 'reduced' || rule === 'pnp-ovss') return plain;
    return { ...plain, reduceZero: rule === 'd2' ? 'wrapping' : 'guarded' };
  },
  classes: (rule) =>
    rule === 'pnp-ovss' ? [unasked('unlabeled'), ...classList('ade150-pnp-ovss')] : classList('ade150'),
};
