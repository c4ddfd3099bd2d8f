/** Evaluation data sets: labelled pictures read from their standard folders (evaluation.md section 8), by name. */
import { show, WordmaskError } from '../util/errors.js';
import { nearest } from '../util/nearest.js';
import { adePanoptic } from './ade-panoptic.js';
import { ade150 } from './ade150.js';
import { adeToMaps847 } from './ade847/convert.js';
import { ade847 } from './ade847.js';
import { camvid } from './camvid.js';
import { cityscapes, labelIdsToTrainIds } from './cityscapes.js';
import { cocoObject, rawToObject } from './coco-object.js';
import { cocoPanopticSet, panopticToMaps } from './coco-panoptic.js';
import { cocoStuff, rawToStuff } from './coco-stuff.js';
import { contextToMaps60, contextToMaps459 } from './context/convert.js';
import { pc59, pc60, pc459 } from './context.js';
import { type ConvertOptions, type ConvertResult, runConversion } from './dataset/convert.js';
import { openSpec } from './dataset/open.js';
import { drawnScenes } from './drawn-scenes/eval-set.js';
import { folder } from './folder.js';
import { loveda } from './loveda.js';
import type { Conversion } from './types/conversion.js';
import type { DatasetSpec } from './types/spec.js';
import type { DatasetOptions, EvalDataset, LabelRule } from './types.js';
import { pas20, pas20b, pas21, voc20, voc21 } from './voc.js';

export type { ConvertOptions, ConvertResult } from './dataset/convert.js';
export {
  type DatasetOptions,
  type DatasetSource,
  type EvalDataset,
  type EvalItem,
  type LabelPlane,
  type LabelRule,
  labelRules,
  type MadePicture,
  type PanopticSegment,
  type PanopticTruth,
} from './types.js';

const specs: ReadonlyMap<string, DatasetSpec> = new Map(
  [
    ...[voc21, voc20, pas21, pas20, pas20b, pc60, pc59, pc459, cocoObject, cocoStuff, ade150, ade847, cityscapes],
    ...[cocoPanopticSet, adePanoptic, camvid, loveda, drawnScenes, folder],
  ].map((spec) => [spec.name, spec]),
);

/** All names that `openDataset` knows. */
export function datasetNames(): string[] {
  return [...specs.keys()];
}

/** What a data set is, whether or not its files are there. */
export interface DatasetInfo {
  readonly name: string;
  readonly kind: 'semantic' | 'panoptic';
  /** Under the default rule; undefined where a file names the classes. */
  readonly classCount: number | undefined;
  /** The first is the default. */
  readonly splits: readonly string[];
  readonly labels: readonly LabelRule[];
  /** Pictures of a split that papers report on. */
  readonly published: Readonly<Record<string, number>>;
  /** Folders of pictures and labels below the root, in the layouts that are tried. */
  readonly layouts: readonly { readonly name: string; readonly images: string; readonly truth: string }[];
}

/** @throws E_OPTION with the nearest name */
export function datasetInfo(name: string): DatasetInfo {
  const { kind, splits, rules, published, layouts, classes } = specOf(name);
  return {
    ...{
      name,
      kind,
      classCount: classes(rules[0] as LabelRule)?.length,
      splits,
      labels: rules,
      published: published ?? {},
    },
    layouts: layouts(splits[0] as string, rules[0] as LabelRule).map(({ name: layout, base, images, truth }) => ({
      name: layout,
      images: [base, images[0]].filter((part) => part !== '').join('/'),
      truth: [base, truth].filter((part) => part !== '').join('/'),
    })),
  };
}

/**
 * Opens a data set and checks it: list and number of pictures, missing files, sizes and kinds of all files by their headers,
 * ids that occur twice. Label values are checked when a label is read.
 * @throws E_OPTION for an unknown name, split or rule; E_USAGE without folders; E_VOCAB for a wrong class list; E_IMAGE_FORMAT with
 * everything that is wrong with the data (`details.problems`), or with every path that was tried (`details.tried`); E_DISK
 */
export function openDataset(name: string, options: DatasetOptions = {}): Promise<EvalDataset> {
  return openSpec(specOf(name), options);
}

function specOf(name: string): DatasetSpec {
  const spec = specs.get(name);
  if (spec) return spec;
  const hint = nearest(String(name), datasetNames());
  throw new WordmaskError(
    'E_OPTION',
    `no data set is named ${show(name)}${hint ? `; did you mean ${show(hint)}?` : ''} (known: ${datasetNames().join(', ')})`,
    { details: { option: 'dataset', value: name } },
  );
}

const conversions: ReadonlyMap<string, Conversion> = new Map(
  [contextToMaps459, contextToMaps60, rawToStuff, rawToObject, adeToMaps847, labelIdsToTrainIds, panopticToMaps].map(
    (conversion) => [conversion.kind, conversion],
  ),
);

/** Other names of kinds: the label files of `pc59` are those of `pc60`. */
const kindAliases: Readonly<Record<string, string>> = { context459: 'pc459', context60: 'pc60', pc59: 'pc60' };

/** Kinds that `convertDataset` knows, with what each reads and writes. */
export function conversionKinds(): readonly { readonly kind: string; readonly text: string }[] {
  return [...conversions.values()].map(({ kind, text }) => ({ kind, text }));
}

/**
 * Raw data of a data set to the label files that `openDataset` reads. What an earlier run has made from the same input is kept.
 * @param kind name of the data set
 * @throws E_OPTION for an unknown kind; E_USAGE, E_IMAGE_FORMAT, E_IMAGE_CORRUPT, E_IMAGE_SIZE, E_DISK
 */
export async function convertDataset(
  kind: string,
  input: string,
  output: string,
  options: ConvertOptions = {},
): Promise<ConvertResult> {
  const conversion = conversions.get(kindAliases[kind] ?? kind);
  if (conversion) return runConversion(conversion, input, output, options);
  const hint = nearest(String(kind), conversions.keys());
  throw new WordmaskError(
    'E_OPTION',
    `no conversion is named ${show(kind)}${hint ? `; did you mean ${show(hint)}?` : ''} (known: ${[...conversions.keys()].join(', ')})`,
    { details: { option: 'kind', value: kind } },
  );
}
