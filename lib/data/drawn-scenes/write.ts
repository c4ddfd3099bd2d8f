/**
 * Drawn scenes as files that other readers know: pictures, VOC-palette label maps of the same stem, COCO panoptic PNG and JSON,
 * a class list and captions.
 *
 *     images/000000.png   labels/000000.png   panoptic/000000.png   panoptic.json   classes.json   captions.jsonl
 */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { cocoPanoptic } from '../../formats/coco-panoptic.js';
import type { FormatFile, LabelResult, LabelSegment, LegendEntry } from '../../formats/format.js';
import { type JsonObject, parseJson } from '../../formats/json.js';
import { voc } from '../../formats/voc.js';
import { masksOfLabels } from '../../image/mask.js';
import { vocColour } from '../../image/palette.js';
import { writePng } from '../../image/png.js';
import { show, WordmaskError } from '../../util/errors.js';
import { guardDisk, makeFolder, writeFileAtomic } from '../../util/files.js';
import { caption } from './captions/grammar.js';
import { synonyms } from './captions/words.js';
import { sceneClasses, stuffNames } from './classes.js';
import { drawScene, type Scene } from './draw.js';
import type { SceneOptions } from './options.js';

export interface WriteScenesOptions {
  readonly scene?: SceneOptions;
  /** Ordinary captions of each scene (1), 0..100; the complete one always stands beside them. */
  readonly captions?: number;
  /** Go on although the folder holds something. */
  readonly overwrite?: boolean;
  readonly signal?: AbortSignal;
  /** Called after each scene. */
  readonly onScene?: (name: string) => void;
}

/** Label order and colours of the files; index = label. */
export const sceneLegend: readonly LegendEntry[] = sceneClasses.map((name, index) => ({
  index,
  name,
  color: vocColour(index),
  thing: !(stuffNames as readonly string[]).includes(name),
}));

/** A scene as a labelled picture: one segment a stuff region's class and one a thing, ids unique in the picture. */
export async function sceneResult(scene: Scene, signal?: AbortSignal): Promise<LabelResult> {
  const { width, height } = scene.image;
  const ids = scene.labels.map((label, i) => {
    const instance = scene.instances[i] as number;
    return instance > 0 ? sceneClasses.length + instance : label + 1;
  });
  const segments: LabelSegment[] = [...(await masksOfLabels(ids, width, height, 0, signal))].map(([id, mask]) => {
    const thing = scene.things[id - sceneClasses.length - 1];
    return { id, label: thing ? thing.class : id - 1, mask, area: mask.area, bbox: mask.bbox };
  });
  return {
    width,
    height,
    labels: scene.labels,
    legend: sceneLegend,
    segments,
    provenance: { data: 'drawn-scenes', split: scene.plan.split, seed: scene.seed },
  };
}

/**
 * Writes the scenes of these seeds.
 * @returns the pictures' paths
 * @throws E_OPTION for unusable options, E_USAGE for a folder that holds something, E_DISK
 */
export async function writeScenes(
  folder: string,
  seeds: readonly number[],
  options: WriteScenesOptions = {},
): Promise<string[]> {
  const { signal, captions = 1 } = options;
  if (!Number.isInteger(captions) || captions < 0 || captions > 100)
    throw new WordmaskError('E_OPTION', `captions must be a whole number from 0 to 100, got ${show(captions)}`);
  await prepare(folder, options.overwrite ?? false);
  const lines: string[] = [];
  const paths: string[] = [];
  const panoptic: { images: unknown[]; annotations: unknown[] } = { images: [], annotations: [] };
  let categories: unknown;
  for (const [i, seed] of seeds.entries()) {
    signal?.throwIfAborted();
    const scene = await drawScene(seed, options.scene);
    const stem = String(i).padStart(6, '0');
    const path = join(folder, 'images', `${stem}.png`);
    const result = await sceneResult(scene, signal);
    const files = (await cocoPanoptic.write(result, {
      stem,
      imageId: i + 1,
      imageFile: `${stem}.png`,
      signal,
    })) as FormatFile[];
    const json = parseJson((files[0] as FormatFile).bytes, 'coco-panoptic') as JsonObject & typeof panoptic;
    panoptic.images.push(...json.images);
    panoptic.annotations.push(...json.annotations);
    categories = json.categories;
    await writeFileAtomic(path, await writePng({ ...scene.image, kind: 'rgb' }, { signal }), { signal });
    await writeFileAtomic(join(folder, 'labels', `${stem}.png`), (await voc.write(result, { signal })) as Uint8Array, {
      signal,
    });
    await writeFileAtomic(join(folder, 'panoptic', `${stem}.png`), (files[1] as FormatFile).bytes, { signal });
    lines.push(captionLine(scene, `images/${stem}.png`, captions));
    paths.push(path);
    options.onScene?.(`${stem}.png`);
  }
  const legend = { categories, legend: sceneLegend };
  await writeFileAtomic(join(folder, 'panoptic.json'), JSON.stringify({ ...panoptic, ...legend }), { signal });
  const classes = sceneClasses.map((name) => ({ name, prompts: synonyms[name] }));
  await writeFileAtomic(join(folder, 'classes.json'), `${JSON.stringify(classes, null, 2)}\n`, { signal });
  await writeFileAtomic(join(folder, 'captions.jsonl'), lines.map((line) => `${line}\n`).join(''), { signal });
  return paths;
}

function captionLine(scene: Scene, image: string, count: number): string {
  const ordinary = Array.from({ length: count }, (_, draw) => caption(scene, draw));
  const complete = caption(scene, 0, { mode: 'complete' });
  const nouns = [...new Set([...ordinary, complete].flatMap((one) => one.nouns.map(({ word }) => word)))];
  return JSON.stringify({
    image,
    seed: scene.seed,
    kind: scene.kind,
    captions: count > 0 ? ordinary.map(({ text }) => text) : [complete.text],
    complete: complete.text,
    nouns,
    attributes: complete.nouns,
  });
}

async function prepare(folder: string, overwrite: boolean): Promise<void> {
  await guardDisk('create', folder, () => makeFolder(folder));
  const found = await guardDisk('read', folder, () => readdir(folder));
  if (found.length > 0 && !overwrite)
    throw new WordmaskError('E_USAGE', `the folder ${show(folder)} is not empty: choose another or give --overwrite`);
  for (const part of ['images', 'labels', 'panoptic'])
    await guardDisk('create', join(folder, part), () => makeFolder(join(folder, part)));
}
