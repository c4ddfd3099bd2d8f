/** Rows of systems that classify masks: mask-decoders.md, maft.md, maft-plus.md, mrovseg.md. */
import { type Cell, figures, type PublishedFigure, type PublishedRow, type Trust } from './row.js';

const ovFive = ['ade847', 'ade150', 'pc459', 'pc59', 'pas20'];

const sanSource = 'mask-decoders.md section 8';
const fcSource = 'mask-decoders.md section 11; repository configs and README';

/** PC-459 columns mix conventions of absent classes: each row says which its figure is (mask-decoders.md section 9). */
function ov(cells: readonly Cell[], pc459: 'mIoUZero' | 'mIoUSkip' | 'mIoU', trust: Trust = 'read'): PublishedFigure[] {
  return figures(ovFive, cells, trust).map((figure) =>
    figure.dataset === 'pc459' ? { ...figure, metric: pc459 } : figure,
  );
}

export const maskSystems: readonly PublishedRow[] = [
  {
    ...{
      id: 'san-b16-log',
      row: 'SAN ViT-B/16 (log of the released run)',
      system: 'san',
      weights: 'san_vit_b_16.pth',
      protocol: 'd2',
    },
    ...{ paper: 'arXiv 2302.12242', source: sanSource },
    figures: [...ov([10.2, 27.6, 16.7, 54.1, 93.9], 'mIoUSkip'), ...figures(['coco-stuff'], [41.9])],
  },
  {
    ...{ id: 'san-b16-paper', row: 'SAN ViT-B/16 (paper)', system: 'san', weights: 'san_vit_b_16.pth', protocol: 'd2' },
    ...{ paper: 'arXiv 2302.12242', source: `${sanSource}, second-hand table` },
    figures: ov([10.1, 27.5, 12.6, 53.8, 94.0], 'mIoUZero', 'recollected'),
  },
  {
    ...{
      id: 'san-l14-log',
      row: 'SAN ViT-L/14-336 (log)',
      system: 'san',
      weights: 'san_vit_large_14.pth',
      protocol: 'd2',
    },
    ...{ paper: 'arXiv 2302.12242', source: sanSource },
    figures: [...ov([13.0, 31.9, 20.8, 57.5, 95.2], 'mIoUSkip'), ...figures(['coco-stuff'], [45.6])],
  },
  {
    ...{
      id: 'san-l14-paper',
      row: 'SAN ViT-L/14-336 (paper, one model)',
      system: 'san',
      weights: 'san_vit_large_14.pth',
      protocol: 'd2',
    },
    ...{ paper: 'arXiv 2302.12242', source: `${sanSource}, from memory` },
    figures: ov([12.4, 32.1, 15.7, 57.7, 94.6], 'mIoUZero', 'recollected'),
  },
  {
    ...{
      id: 'fc-clip-convnext-l',
      row: 'FC-CLIP ConvNeXt-L',
      system: 'fc-clip',
      weights: 'fcclip_cocopan.pth',
      protocol: 'd2',
    },
    ...{ paper: 'arXiv 2308.02487', source: fcSource },
    figures: [
      ...ov([14.8, 34.1, 18.2, 58.4, 95.4], 'mIoUSkip'),
      ...figures(['pas21'], [81.8]),
      ...figures(['ade-panoptic', 'coco-panoptic', 'cityscapes'], [26.8, 54.4, 44.0], 'read', 'PQ'),
      ...figures(['ade-panoptic'], [71.6], 'read', 'SQ'),
      ...figures(['ade-panoptic'], [32.3], 'read', 'RQ'),
      ...figures(['ade-panoptic'], [16.8], 'read', 'AP'),
    ],
    note: 'runs on other stacks are 1 to 1.5 points lower',
  },
  {
    ...{ id: 'fc-clip-r50', row: 'FC-CLIP R50', system: 'fc-clip', weights: 'fcclip_cocopan_r50.pth', protocol: 'd2' },
    ...{ paper: 'arXiv 2308.02487', source: fcSource },
    figures: [...ov([7.1, 23.3, 12.9, 50.5, 89.5], 'mIoUSkip'), ...figures(['ade-panoptic'], [17.9], 'read', 'PQ')],
  },
  {
    ...{ id: 'maft-b16', row: 'MAFT ViT-B (released)', system: 'maft', weights: 'MAFT ViT-B', protocol: 'd2' },
    ...{ paper: 'arXiv 2310.00240', source: 'maft.md section 8; README and log of the repository' },
    figures: ov([10.25, 29.14, 12.85, 53.33, 90.44], 'mIoUZero'),
  },
  {
    ...{ id: 'maft-l14', row: 'MAFT ViT-L (released)', system: 'maft', weights: 'MAFT ViT-L', protocol: 'd2' },
    ...{ paper: 'arXiv 2310.00240', source: 'maft.md section 8; README and log of the repository' },
    figures: ov([12.12, 32.05, 15.68, 58.01, 92.14], 'mIoUZero'),
  },
  {
    ...{ id: 'maft-b16-paper', row: 'MAFT ViT-B (paper)', system: 'maft', weights: 'MAFT ViT-B', protocol: 'd2' },
    ...{ paper: 'arXiv 2310.00240', source: 'maft.md section 8, second-hand' },
    figures: ov([10.1, 29.1, 12.8, 53.5, 90.0], 'mIoUZero', 'recollected'),
  },
  ...(
    [
      ['coco-stuff', 'coco-stuff', [43.3, 'recollected'], 50.4, [46.5, 'recollected']],
      ['voc', 'pas20', [91.4, 'recollected'], 81.8, [86.3, 'recollected']],
      ['ade847', 'ade847', undefined, 8.7, undefined],
    ] as const
  ).map(
    ([split, dataset, seen, unseen, hIoU]): PublishedRow => ({
      ...{
        id: `maft-freeseg-${split}`,
        row: 'FreeSeg + MAFT (zero-shot)',
        system: 'maft',
        weights: 'MAFT, trained on seen classes',
      },
      ...{
        protocol: { name: 'd2', split },
        paper: 'arXiv 2310.00240',
        source: 'maft.md section 8; unseen from the abstract',
      },
      figures: [
        ...figures([dataset], [seen], 'read', 'seen'),
        ...figures([dataset], [unseen], 'read', 'unseen'),
        ...figures([dataset], [hIoU], 'read', 'hIoU'),
      ],
    }),
  ),
  {
    ...{ id: 'maft-plus-base', row: 'MAFT+ Base', system: 'maft-plus', weights: 'MAFT+ ConvNeXt-B', protocol: 'd2' },
    ...{ paper: 'arXiv 2408.00744', source: 'maft-plus.md section 8; README and abstract' },
    figures: ov([13.8, 34.6, 16.2, 57.5, 95.4], 'mIoUZero'),
  },
  {
    ...{ id: 'maft-plus-large', row: 'MAFT+ Large', system: 'maft-plus', weights: 'MAFT+ ConvNeXt-L', protocol: 'd2' },
    ...{ paper: 'arXiv 2408.00744', source: 'maft-plus.md section 8; README and abstract' },
    figures: [
      ...ov([15.1, 36.1, 21.6, 59.4, 96.5], 'mIoUZero'),
      ...figures(['ade-panoptic'], [27.1], 'read', 'PQ'),
      ...figures(['ade-panoptic'], [73.5], 'read', 'SQ'),
      ...figures(['ade-panoptic'], [32.9], 'read', 'RQ'),
    ],
  },
  {
    ...{ id: 'mrovseg-large', row: 'MROVSeg (large)', system: 'mrovseg', weights: 'MROVSeg ViT-L', protocol: 'd2' },
    ...{ paper: 'MROVSeg', source: 'mrovseg.md section 1, public leaderboard' },
    figures: ov([16.1, 36.9, 24.1, 64.1, 97.6], 'mIoU', 'recollected'),
    note: 'which convention of absent classes the PC-459 figure follows is unknown',
  },
];
