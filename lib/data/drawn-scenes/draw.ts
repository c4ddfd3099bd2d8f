/** Scenes with pixels: single ones, and batches drawn on the thread pool off the event loop. */
import { drawnInstances, drawnLabels, drawScenesNative } from '../../engine/ops/host/draw-scenes.js';
import { WordmaskError } from '../../util/errors.js';
import { Slices } from '../../util/slices.js';
import {
  type Pattern,
  type SceneClass,
  type SceneKind,
  type StuffName,
  sceneClasses,
  type ThingColour,
  type ThingName,
} from './classes.js';
import { DisplayList } from './display-list.js';
import { encodeScene } from './encode.js';
import { drawnSize, resolveSize, type SceneOptions } from './options.js';
import { planScene, type ScenePlan } from './plan.js';
import { splitOfSeed } from './splits.js';

/** What can be told of a thing in a picture. */
export interface SceneThing {
  /** Value in the instance map, 1.. from far to near. */
  readonly instance: number;
  readonly name: ThingName;
  /** Index in `sceneClasses`. */
  readonly class: number;
  readonly colour: ThingColour;
  readonly pattern: Pattern;
  /** Things of one group share class, colour and pattern. */
  readonly group: number;
  /** Visible share of the picture. */
  readonly area: number;
  /** Box of the visible part as shares of width and height: left, top, right, bottom; zeros if nothing is visible. */
  readonly box: readonly [number, number, number, number];
  /** Longer side as a share of the picture's shorter side, the hidden part included. */
  readonly extent: number;
  /** Index in `stuff` of the region behind its foot or centre. */
  readonly region: number;
}

export interface SceneStuff {
  readonly name: StuffName;
  readonly class: number;
  readonly area: number;
}

/** What captions and tables need of a scene; small, so that it can be kept while pictures come and go. */
export interface SceneRecord {
  readonly seed: number;
  readonly kind: SceneKind;
  readonly night: boolean;
  readonly closeUp: boolean;
  readonly things: readonly SceneThing[];
  /** From top to bottom. */
  readonly stuff: readonly SceneStuff[];
}

export interface Scene extends SceneRecord {
  readonly plan: ScenePlan;
  readonly image: { readonly data: Uint8Array; readonly width: number; readonly height: number };
  /** u8 `[H, W]`: index in `sceneClasses` of every pixel. */
  readonly labels: Uint8Array;
  /** u8 `[H, W]`: instance of every pixel, 0 for stuff. */
  readonly instances: Uint8Array;
  /** Of each thing, in pixels: left, top, right, bottom (one beyond). */
  readonly boxes: readonly (readonly [number, number, number, number])[];
}

export interface SceneBatch {
  readonly width: number;
  readonly height: number;
  /** RGB u8 `[B, H, W, 3]`. */
  readonly images: Uint8Array;
  /** u8 `[B, H, W]`. */
  readonly labels: Uint8Array;
  /** u8 `[B, H, W]`. */
  readonly instances: Uint8Array;
  readonly scenes: readonly SceneRecord[];
  readonly plans: readonly ScenePlan[];
}

/**
 * Draws a batch; scene i is the same whatever else is in the batch. All scenes have one size: the option's, else the default
 * of the first seed's split.
 * @throws E_OPTION for unusable seeds or options, and when the pictures take over 1 GiB
 */
export async function drawScenes(seeds: readonly number[], options: SceneOptions = {}): Promise<SceneBatch> {
  if (seeds.length === 0) throw new WordmaskError('E_USAGE', 'drawScenes needs at least one seed, got none');
  const size = resolveSize(splitOfSeed(seeds[0] as number), options.size);
  const drawn = drawnSize(size);
  const list = new DisplayList();
  const begins = new Uint32Array(seeds.length + 1);
  const plans: ScenePlan[] = [];
  const slices = new Slices();
  for (let b = 0; b < seeds.length; b++) {
    if (slices.due) await slices.pause();
    const plan = planScene(seeds[b] as number, { ...options, size });
    encodeScene(list, plan, drawn);
    plans.push(plan);
    begins[b + 1] = list.length;
  }
  const out = await drawScenesNative(list.take(), begins, drawn, size);
  const scenes = plans.map((plan, b) =>
    record(plan, size, out.boxes.subarray(b * drawnInstances * 5), out.counts.subarray(b * drawnLabels)),
  );
  const { images, labels, instances } = out;
  return { ...size, images, labels, instances, scenes, plans };
}

/** Draws one scene. @throws as `drawScenes` */
export async function drawScene(seed: number, options: SceneOptions = {}): Promise<Scene> {
  const { width, height, images, labels, instances, scenes, plans } = await drawScenes([seed], options);
  const scene = scenes[0] as SceneRecord;
  return {
    ...scene,
    plan: plans[0] as ScenePlan,
    image: { data: images, width, height },
    labels,
    instances,
    boxes: scene.things.map(({ box }) => [
      Math.round(box[0] * width),
      Math.round(box[1] * height),
      Math.round(box[2] * width),
      Math.round(box[3] * height),
    ]),
  };
}

function record(
  plan: ScenePlan,
  size: { width: number; height: number },
  boxes: Int32Array,
  counts: Int32Array,
): SceneRecord {
  const pixels = size.width * size.height;
  return {
    seed: plan.seed,
    kind: plan.kind,
    night: plan.night,
    closeUp: plan.closeUp,
    things: plan.things.map(({ name, class: label, colour, pattern, group, extent, y }, i) => {
      const [area = 0, x0 = 0, y0 = 0, x1 = 0, y1 = 0] = boxes.subarray(5 * (i + 1), 5 * (i + 2));
      return {
        instance: i + 1,
        name,
        class: label,
        colour,
        pattern,
        group,
        area: area / pixels,
        box: [x0 / size.width, y0 / size.height, x1 / size.width, y1 / size.height],
        extent: extent * plan.camera.zoom,
        region: Math.max(
          0,
          plan.stuff.findLastIndex(({ top }) => top <= y),
        ),
      };
    }),
    stuff: plan.stuff.map(({ name, class: label }) => ({
      name,
      class: label,
      area: (counts[label] as number) / pixels,
    })),
  };
}

/** Name of a label, for messages and legends. */
export function className(label: number): SceneClass | undefined {
  return sceneClasses[label];
}
