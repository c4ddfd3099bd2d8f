/** Rows of CLIP's dense readings and of systems trained on text: naclip.md, dense-clip-baselines.md, mgca.md, simzss.md, pnp-ovss.md, clip-as-rnn.md. */
import { type Cell, figures, type PublishedRow } from './row.js';

const eight = ['voc21', 'pc60', 'coco-object', 'voc20', 'cityscapes', 'pc59', 'ade150', 'coco-stuff'];
const tclEight = ['voc21', 'pc60', 'coco-object', 'voc20', 'pc59', 'coco-stuff', 'cityscapes', 'ade150'];
const clearFive = ['voc20', 'pc59', 'coco-stuff', 'cityscapes', 'ade150'];

const b16 = { weights: 'openai/clip-vit-base-patch16', encoder: { patch: 16, width: 768 } } as const;
const l14 = { weights: 'openai/clip-vit-large-patch14', encoder: { patch: 14, width: 1024 } } as const;
const pamr = { name: 'pamr' as const, steps: 10, dilations: [8, 16] };
const thirdParty = 'quoted in the table of the FreeCP repository';

export const clipFamily: readonly PublishedRow[] = [
  {
    ...{
      id: 'naclip-b16-pamr',
      row: 'NACLIP + PAMR (repository default)',
      system: 'naclip',
      ...b16,
      protocol: 'published',
    },
    ...{ paper: 'arXiv 2404.08181', source: 'naclip.md section 11; README of sinahmr/NACLIP' },
    figures: figures(eight, [64.07, 34.99, 36.19, 83.03, 38.27, 38.35, 19.05, 25.69]),
  },
  {
    ...{ id: 'naclip-b16', row: 'NACLIP without PAMR', system: 'naclip', ...b16, protocol: { refine: 'none' } },
    ...{ paper: 'arXiv 2404.08181', source: `naclip.md section 11; ${thirdParty}` },
    figures: figures(eight, [58.9, 32.2, 33.2, 79.7, 35.5, 35.2, 17.4, [23.3, 'recollected']]),
  },
  {
    ...{ id: 'sclip-b16-repository', row: 'SCLIP (repository)', system: 'sclip', ...b16, protocol: 'published' },
    ...{ paper: 'arXiv 2312.01597', source: 'dense-clip-baselines.md section 4; README of wangf3014/SCLIP' },
    figures: figures(eight, [59.63, 31.74, 33.52, 81.54, 32.34, 34.46, 16.45, 22.77]),
  },
  {
    ...{ id: 'sclip-b16-paper', row: 'SCLIP (paper)', system: 'sclip', ...b16, protocol: 'sclip' },
    ...{ paper: 'arXiv 2312.01597', source: `dense-clip-baselines.md section 4; ${thirdParty}` },
    figures: figures(eight, [59.1, 30.4, 30.5, 80.4, 32.2, 34.2, 16.1, 22.4]),
    note: 'the paper uses one logit scale, 40, and no area rule',
  },
  {
    ...{
      id: 'sclip-b16-pamr',
      row: 'SCLIP + PAMR',
      system: 'sclip',
      ...b16,
      protocol: { name: 'sclip', refine: pamr },
    },
    ...{ paper: 'arXiv 2404.08181', source: `naclip.md section 11, dense-clip-baselines.md section 4; ${thirdParty}` },
    figures: figures(eight, [61.7, 31.5, 32.1, [83.5, 'recollected'], 34.1, 36.1, 17.8, 23.9]),
  },
  {
    ...{ id: 'clip-b16', row: 'CLIP ViT-B/16', system: 'clip', ...b16, protocol: 'published' },
    ...{
      paper: 'arXiv 2404.08181, table 1',
      source: 'naclip.md section 11; the average is confirmed, the cells are not',
    },
    figures: figures(eight, [18.8, 9.9, 8.1, 49.4, 6.5, 11.1, 3.1, 5.7], 'recollected'),
  },
  {
    ...{ id: 'maskclip-b16', row: 'MaskCLIP (rerun)', system: 'maskclip', ...b16, protocol: 'published' },
    ...{ paper: 'arXiv 2312.01597 and 2404.08181', source: `dense-clip-baselines.md section 4; ${thirdParty}` },
    figures: figures(eight, [43.4, 23.2, 20.6, 74.9, 24.9, 26.4, 11.9, 16.7]),
    note: 'figures of MaskCLIP depend on the study',
  },
  {
    ...{ id: 'clearclip-b16', row: 'ClearCLIP', system: 'clearclip', ...b16, protocol: 'published' },
    ...{ paper: 'arXiv 2407.12442', source: `dense-clip-baselines.md section 4; ${thirdParty}` },
    figures: figures(eight, [51.8, 32.6, 33.0, 80.9, 30.0, 35.9, 16.7, 23.9]),
  },
];

const clearSource = 'dense-clip-baselines.md section 4; README of mc-lan/ClearCLIP (appendix table 2)';
const clearSettings = {
  name: 'sclip' as const,
  resize: { mode: 'keep-ratio' as const, shortSide: 448, longSide: 2048, multiple: 1 },
  window: { crop: 448, stride: 224 },
};

/** ClearCLIP's own table: each encoder plain and with its reading, five data sets without a background. */
export const clearTable: readonly PublishedRow[] = (
  [
    ['openai-b', 'CLIP ViT-B/16', b16, [41.8, 9.2, 4.4, 5.5, 2.1], [80.9, 35.9, 23.9, 30.0, 16.7]],
    ['openai-l', 'CLIP ViT-L/14', l14, [15.8, 4.5, 2.4, 2.9, 1.2], [80.0, 29.6, 19.9, 27.9, 15.0]],
    [
      'laion-b',
      'OpenCLIP ViT-B/16',
      { ...b16, weights: 'laion/CLIP-ViT-B-16-laion2B-s34B-b88K' },
      [47.2, 9.0, 5.0, 5.1, 2.9],
      [81.4, 34.1, 23.1, 31.8, 18.9],
    ],
    [
      'laion-l',
      'OpenCLIP ViT-L/14',
      { ...l14, weights: 'laion/CLIP-ViT-L-14-laion2B-s32B-b82K' },
      [39.7, 7.0, 4.1, 3.9, 2.3],
      [65.3, 27.9, 19.5, 26.4, 16.0],
    ],
    [
      'metaclip-b',
      'MetaCLIP ViT-B/16',
      { ...b16, weights: 'facebook/metaclip-b16-fullcc2.5b' },
      [35.4, 8.1, 4.3, 5.0, 2.2],
      [78.3, 34.8, 23.5, 27.9, 17.4],
    ],
    [
      'metaclip-l',
      'MetaCLIP ViT-L/14',
      { ...l14, weights: 'facebook/metaclip-l14-fullcc2.5b' },
      [22.7, 6.2, 3.6, 5.1, 2.2],
      [78.2, 30.3, 20.5, 25.6, 16.4],
    ],
  ] as const
).flatMap(([id, row, weights, plain, clear]): PublishedRow[] => [
  {
    ...{ id: `clip-${id}-448`, row, system: 'clip', ...weights, protocol: clearSettings },
    ...{ paper: 'arXiv 2407.12442', source: clearSource, figures: figures(clearFive, plain) },
  },
  {
    ...{ id: `clearclip-${id}`, row: `${row} + ClearCLIP`, system: 'clearclip', ...weights, protocol: 'published' },
    ...{ paper: 'arXiv 2407.12442', source: clearSource, figures: figures(clearFive, clear) },
  },
]);

const mgcaPaper = { paper: 'arXiv 2403.03707, tables 1 and 2', source: 'mgca.md section 6' } as const;

export const textSupervised: readonly PublishedRow[] = [
  {
    ...{
      id: 'mgca-cc3m',
      row: 'MGCA (CC3M)',
      system: 'mgca',
      weights: 'not published: train it on CC3M',
      protocol: 'published',
    },
    ...{ ...mgcaPaper, encoder: b16.encoder },
    figures: figures(tclEight, [53.1, 31.3, 31.9, 81.4, 33.7, 22.0, 24.0, 16.4]),
    note: 'thresholds of the sets with a background are not published',
  },
  {
    ...{ id: 'maskclip-tcl', row: 'MaskCLIP', system: 'maskclip', ...b16, ...mgcaPaper },
    protocol: {
      name: 'tcl',
      systemOptions: { residual: true, ffn: true, positions: 'exact', padToPatch: 'centre' },
    },
    figures: figures(tclEight, [38.8, 23.6, 20.6, 74.9, 26.4, 16.4, 12.6, 9.8]),
    note: 'thresholds of the sets with a background are not published',
  },
  {
    ...{ id: 'tcl-cc3m-cc12m', row: 'TCL (CC3M and CC12M)', system: 'tcl', weights: 'tcl.pth', protocol: 'published' },
    ...{ ...mgcaPaper, figures: figures(tclEight, [51.2, 24.3, 30.4, 77.5, 30.3, 19.6, 23.1, 14.9]) },
  },
  {
    ...{ id: 'tcl-pamr', row: 'TCL with PAMR', system: 'tcl', weights: 'tcl.pth', protocol: 'published' },
    ...{ paper: 'arXiv 2212.00785', source: 'evaluation.md section 9, from memory' },
    figures: figures(tclEight, [55.0, 30.4, 31.6, 83.2, 33.9, 22.4, 24.0, 17.1], 'recollected'),
  },
  {
    ...{
      id: 'groupvit-yfcc-readme',
      row: 'GroupViT (CC3M, CC12M, YFCC14M)',
      system: 'groupvit',
      weights: 'nvidia/groupvit-gcc-yfcc',
    },
    ...{
      protocol: 'published',
      paper: 'arXiv 2202.11094',
      source: 'evaluation.md section 9; README of NVlabs/GroupViT',
    },
    figures: figures(tclEight, [52.3, 22.4, 24.3]),
  },
  {
    ...{ id: 'groupvit-redcaps-readme', row: 'GroupViT (CC3M, CC12M, RedCaps12M)', system: 'groupvit' },
    ...{ weights: 'nvidia/groupvit-gcc-redcaps', protocol: 'published', paper: 'arXiv 2202.11094' },
    ...{ source: 'evaluation.md section 9; README of NVlabs/GroupViT', figures: figures(tclEight, [50.8, 23.7, 27.5]) },
  },
  {
    ...{
      id: 'groupvit-yfcc',
      row: 'GroupViT (CC3M, CC12M, YFCC14M)',
      system: 'groupvit',
      weights: 'nvidia/groupvit-gcc-yfcc',
    },
    ...{ protocol: 'tcl', ...mgcaPaper },
    figures: figures(tclEight, [52.3, 22.4, 24.3, 74.1, 20.8, 12.6, 6.9, 8.7]),
  },
  {
    ...{ id: 'groupvit-redcaps', row: 'GroupViT (CC3M, CC12M, RedCaps12M)', system: 'groupvit' },
    ...{ weights: 'nvidia/groupvit-gcc-redcaps', protocol: 'tcl', ...mgcaPaper },
    figures: figures(tclEight, [50.8, 23.7, 27.5, 79.7, 23.4, 15.3, 11.1, 9.2]),
  },
  ...(
    [
      ['coco', 'COCO Captions', [[58.4], [37.2], [43.5], [90.3, 'read'], [43.1], [29.0], [33.0], [21.8]]],
      ['laion', 'LAION-400M', [[48.6, 'read'], undefined, undefined, [85.1], [34.2], [24.9], [27.8], [19.6]]],
    ] as const
  ).map(
    ([id, data, cells]): PublishedRow => ({
      ...{
        id: `simzss-${id}`,
        row: `SimZSS ViT-B/14 (${data})`,
        system: 'simzss',
        weights: `SimZSS ViT-B/14, ${data}`,
      },
      ...{ protocol: 'published', paper: 'SimZSS', source: 'simzss.md section 7' },
      figures: figures(
        tclEight,
        cells.map((cell): Cell => cell && [cell[0], cell[1] ?? 'recollected']),
      ),
      note: 'thresholds of the sets with a background are not published',
    }),
  ),
];

export const others: readonly PublishedRow[] = [
  {
    ...{
      id: 'pnp-ovss-blip',
      row: 'PnP-OVSS + BLIP (v4, 336)',
      system: 'pnp-ovss',
      weights: 'BLIP-large ITM, Flickr',
      protocol: 'published',
    },
    ...{ paper: 'arXiv 2311.17095', source: 'pnp-ovss.md section 13, not read in the paper' },
    figures: figures(
      ['voc21', 'pc60', 'coco-object', 'coco-stuff', 'ade150'],
      [51.3, 28.0, 36.2, 17.9, 14.2],
      'recollected',
    ),
    note: "needs the authors' class choices by GPT-4o (classProvider json)",
  },
  {
    ...{ id: 'car', row: 'CLIP as RNN', system: 'clip-as-rnn', ...b16, protocol: 'published' },
    ...{ paper: 'arXiv 2312.07661', source: 'clip-as-rnn.md section 11; the first three recollected, A-847 inferred' },
    figures: figures(
      ['voc21', 'coco-object', 'pc60', 'pc59', 'ade150', 'ade847'],
      [67.6, 36.6, 30.5, [39.5, 'read'], [17.7, 'read'], 5.4],
      'recollected',
    ),
  },
];
