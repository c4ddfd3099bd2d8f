/**
 * From a protocol's name, file or changes to the whole record and to what the model is called with. The record is made from
 * what will be done, not from what was asked: a choice that cannot be followed is refused by name.
 */
import { type WordChoice, type WordedClass, wordLabels, wordsHash } from '../data/class-words.js';
import { datasetInfo, type EvalDataset, type LabelRule } from '../data/dataset.js';
import { systemOptions } from '../pipelines/call-options.js';
import type { Model } from '../pipelines/model.js';
import type { SegmentOptions } from '../pipelines/segment-options.js';
import { Vocabulary } from '../pipelines/vocabulary.js';
import { show, WordmaskError } from '../util/errors.js';
import { nearest } from '../util/nearest.js';
import {
  askedOfOwn,
  askedOptions,
  refuseUndone,
  type SystemOptions,
  takesPictureRules,
  toldOptions,
} from './choices.js';
import {
  checkProtocol,
  checkProtocolChanges,
  type Protocol,
  type ProtocolChanges,
  type ProtocolName,
  protocolNames,
} from './protocol.js';
import { presetNames, protocols, usualProtocol } from './protocols.js';
import { checkSplit } from './splits.js';

/** `published` (default): the system's own row for the data set; a protocol's name; or a record, whole or in part. */
export type ProtocolRequest = 'published' | ProtocolName | ProtocolChanges;

export interface EvalSetup {
  readonly protocol: Protocol;
  readonly vocabulary: Vocabulary;
  /** Class of each label of the vocabulary: classes that are scored but never asked for are not in it. */
  readonly classOf: Int32Array;
  /** For `segment` and `stream`. */
  readonly options: SegmentOptions;
  /** The system's published setting that was taken, and where it is from. */
  readonly preset?: { readonly name: string; readonly source: string };
  /** What was asked for. */
  readonly request: ProtocolRequest;
  readonly warnings: readonly string[];
}

interface ParsedRequest {
  readonly name: ProtocolName;
  /** The protocol was named: its own picture rules hold, not the system's published row. */
  readonly named: boolean;
  readonly changes: ProtocolChanges;
}

/** Checks a request and says which protocol counts, for a data set that may not be open yet. @throws E_OPTION */
export function protocolOf(request: ProtocolRequest | undefined, system: string, dataset: string): ParsedRequest {
  const usual = usualProtocol(system, dataset);
  if (request === undefined || request === 'published') return { name: usual, named: false, changes: {} };
  if (typeof request !== 'string') {
    const changes = checkProtocolChanges(request);
    return { name: changes.name ?? usual, named: changes.name !== undefined, changes };
  }
  if ((protocolNames as readonly string[]).includes(request)) return { name: request, named: true, changes: {} };
  const known = [...protocolNames, 'published'];
  const guess = nearest(String(request), known);
  throw new WordmaskError(
    'E_OPTION',
    `no protocol is named ${show(request)}${guess ? `; did you mean '${guess}'?` : ''} (known: ${known.join(', ')}, or a JSON file)`,
    { details: { option: 'protocol', value: request } },
  );
}

/** How the labels of a data set are read under a protocol; a rule that was not asked for gives way to the data set's own. @throws E_OPTION */
export function labelRuleOf(request: ProtocolRequest | undefined, system: string, dataset: string): LabelRule {
  const { name, named } = protocolOf(request, system, dataset);
  const { labels } = protocols[name];
  const known = datasetInfo(dataset).labels;
  return named || known.includes(labels) ? labels : (known[0] as LabelRule);
}

/** Everything a run needs before its first picture. @throws E_OPTION, E_VOCAB, E_LABEL, E_HASH */
export async function setUp(
  model: Model,
  dataset: EvalDataset,
  request: ProtocolRequest | undefined,
  signal?: AbortSignal,
): Promise<EvalSetup> {
  const { system } = model.info;
  const { source } = dataset;
  const asked = protocolOf(request, system, dataset.name);
  const { name, named, changes } = asked;
  const rules = protocols[name];
  const preset = named ? undefined : presetOf(model, dataset.name);
  const { call, options, warnings } = optionsInForce(model, asked, dataset, preset?.name);
  const words: WordChoice = {
    file: changes.queries?.file ?? preset?.queries ?? rules.queries[dataset.name] ?? 'dataset',
    background: changes.queries?.background ?? rules.background,
  };
  const labels = await wordLabels(dataset.classes, words, signal);
  const classOf = Int32Array.from([...labels.keys()].filter((c) => isWorded(labels[c] as WordedClass)));
  const protocol = checkProtocol({
    name,
    evaluator: changes.evaluator ?? rules.evaluator,
    absent: changes.absent ?? rules.absent,
    dataset: dataset.name,
    classes: { file: dataset.name, hash: wordsHash(dataset.classes.map((entry) => entry.name)) },
    queries: { ...words, hash: wordsHash(labels.map(({ prompts }) => prompts)) },
    ...toldOptions(system, options, changes),
    ...{ ignore: dataset.ignore, reduceZeroLabel: source.reduceZeroLabel, labelMap: source.labelMap },
    split: changes.split ? checkSplit(changes.split, dataset.name) : null,
  });
  refuseUndone(changes, protocol, system);
  return {
    protocol,
    vocabulary: Vocabulary.from(uniquelyNamed([...classOf].map((c) => labels[c] as WordedClass)), { ensemble: 'max' }),
    classOf,
    options: { ...call, ...callOptions(protocol), ...(preset && { preset: preset.name }) } as SegmentOptions,
    ...(preset && { preset: { name: preset.name, source: preset.source } }),
    request: request ?? 'published',
    warnings,
  };
}

/** The published setting for a data set, and the words it uses where it says which. */
function presetOf(
  model: Model,
  dataset: string,
): { name: string; source: string; queries: string | undefined } | undefined {
  const { presets } = model.calls.parts.module;
  const name = presetNames(dataset).find((candidate) => Object.hasOwn(presets, candidate));
  if (name === undefined) return undefined;
  const { source, queries } = presets[name] as { source: string; queries?: string };
  // A row of the data set's own name that has no query list is worded by the class names.
  return { name, source, queries: name === dataset ? (queries ?? 'dataset') : undefined };
}

/** Options of the call, and all that are in force with them. */
function optionsInForce(
  model: Model,
  { name, named, changes }: ParsedRequest,
  dataset: EvalDataset,
  preset: string | undefined,
): { call: Record<string, unknown>; options: SystemOptions; warnings: string[] } {
  const { system } = model.info;
  const { module, fileOptions } = model.calls.parts;
  const { picture, pictureOf, thresholds } = protocols[name];
  const inForce = (call: Record<string, unknown>): SystemOptions =>
    systemOptions<object>(module, fileOptions, call, preset) as SystemOptions;
  if (takesPictureRules(inForce({}))) {
    const rules = named ? { ...picture, ...pictureOf?.[dataset.name] } : {};
    const call = askedOptions(system, name, rules, named ? (thresholds[dataset.name] ?? 0) : undefined, changes);
    return { call, options: inForce(call), warnings: [] };
  }
  const usual = name === usualProtocol(system, dataset.name);
  const call = askedOfOwn(system, named && usual ? { ...picture, ...pictureOf?.[dataset.name] } : {}, changes);
  const warnings =
    named && !usual
      ? [`${system} sizes and words its pictures itself: protocol ${name} gives labels and counting alone`]
      : [];
  return { call, options: inForce(call), warnings };
}

/** Options of `segment` that follow from the record. */
function callOptions({ refine, background: { mode, value } }: Protocol): Record<string, unknown> {
  return {
    ...(refine !== 'system' && { refine }),
    background: mode === 'system' ? { mode: 'auto' } : mode === 'none' ? { mode } : { mode, value },
    keepImage: false,
  };
}

/** Published lists name a few classes alike; a vocabulary needs names of their own, the words stay as they are. */
function uniquelyNamed(classes: readonly WordedClass[]): WordedClass[] {
  const seen = new Set<string>();
  return classes.map((entry, i) => {
    const taken = seen.has(entry.name.toLowerCase());
    seen.add(entry.name.toLowerCase());
    return taken ? { ...entry, name: `${entry.name} (${i})` } : entry;
  });
}

/** A class without words is asked for only as background, which other rules may give. */
function isWorded({ prompts, background }: WordedClass): boolean {
  return prompts.length > 0 || background === true;
}
