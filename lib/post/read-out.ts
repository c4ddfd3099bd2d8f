/**
 * From window features and text to label planes (architecture.md section 3, steps 5-8). Classes come in chunks and rows in
 * bands, with a running best per pixel between them: memory does not grow with labels x pixels, and neither chunk nor band
 * changes a bit. Only the dense CRF and `probabilities` need all classes at once.
 */
import {
  clamp,
  classProbabilities,
  concat,
  div,
  fill,
  log,
  type MergeOptions,
  normaliseImage,
  type ScoreOptions,
  scope,
  scoreInit,
  scoreUpdate,
  sum,
  sync,
  Tensor,
  windowMerge,
  windowUpsample,
} from '../engine/index.js';
import { WordmaskError } from '../util/errors.js';
import { inSlices } from '../util/slices.js';
import { type Bands, bandsOf, pamrScratch, statePlanes, volumePlanes } from './bands.js';
import { type CrfTerms, denseCrf, unaryFromSoftmax } from './dense-crf.js';
import { type DenseFeatures, resizeToCanvas } from './dense-encode.js';
import type { DenseOptions } from './dense-options.js';
import type { DenseSystem } from './dense-system.js';
import { HostPlanes } from './host-planes.js';
import { pamr } from './pamr.js';

/** A vocabulary as read-out sees it. */
export interface Queries {
  /** Unit rows [S, E]. */
  readonly text: Tensor;
  /** Class of each row; a class may have many rows. */
  readonly classOf: Int32Array;
  /** Number of classes, the hidden background class of the policy `prompts` included. */
  readonly classes: number;
}

export type Refine =
  | { readonly kind: 'none' }
  | { readonly kind: 'pamr'; readonly steps: number; readonly dilations: readonly number[] }
  | ({ readonly kind: 'crf'; readonly iterations: number } & CrfTerms);

export interface ReadOutSettings {
  readonly options: DenseOptions;
  readonly refine: Refine;
  /** Class-max probability below this is background; 0 for none. */
  readonly threshold: number;
  /** The winner must lead by this; 0 for none. */
  readonly margin: number;
  /** Class that background pixels get, or -1 for nothing. */
  readonly background: number;
  readonly outputs: {
    readonly margin: boolean;
    readonly entropy: boolean;
    readonly topk: number;
    readonly probabilities: boolean;
    /** Winner's logit as it is, without scale. */
    readonly logit?: boolean;
  };
  /** Bytes that intermediates may take. */
  readonly budget: number;
  /** Rows of the label map made at once; default what the budget allows. Changes no bit. */
  readonly tileRows?: number;
  /** Classes whose rows count in the softmax but may not win (area rule, label restriction). */
  readonly excluded?: ReadonlySet<number>;
}

export interface Planes {
  /** Class per pixel; -1 = nothing. */
  readonly labels: Int32Array;
  readonly score: Float32Array;
  readonly logit?: Float32Array;
  readonly margin?: Float32Array;
  readonly entropy?: Float32Array;
  /** [k, H, W] */
  readonly topkLabels?: Int32Array;
  readonly topkScores?: Float32Array;
  /** [Q, H, W] */
  readonly probabilities?: Float32Array;
}

/** Receives intermediate values by name; `wants` says which are worth making. */
export interface Trace {
  wants(name: string): boolean;
  put(name: string, tensor: Tensor): void;
}

/** Score maps of all windows, as the compositor takes them. */
interface MergePlan {
  readonly boxes: Int32Array;
  readonly grid: readonly [number, number];
  readonly geometry: MergeOptions & { readonly out: readonly [number, number] };
}

function mergePlan(features: DenseFeatures, options: DenseOptions): MergePlan {
  const { canvas, original, stretched, boxes } = features;
  const grid = features.mapGrid ?? features.grid;
  const out = [original.height, original.width] as const;
  // SCLIP and ClearCLIP without windows stretch the map over the picture in one step.
  if (options.oneStep && options.crop === 0) {
    return { boxes: Int32Array.of(0, 0, ...out), grid, geometry: { canvas: out, window: out, out } };
  }
  return {
    boxes,
    grid,
    geometry: {
      canvas: [canvas.height, canvas.width],
      window: [stretched.height, stretched.width],
      pad: [stretched.top, stretched.left],
      out,
    },
  };
}

function scoreFlags(settings: ReadOutSettings, scale: number): ScoreOptions {
  const { margin, entropy, topk } = settings.outputs;
  return { scale, second: margin || settings.margin > 0, moment: entropy, topk };
}

export class ReadOut {
  private readonly plan: MergePlan;
  private readonly width: number;
  private readonly height: number;
  /** Score maps of all queries, where they fit or a refinement needs them together; lives in the scope that made it. */
  private allScores: Tensor | undefined;

  constructor(
    private readonly system: DenseSystem,
    private readonly features: DenseFeatures,
    private readonly queries: Queries,
    private readonly settings: ReadOutSettings,
    private readonly image: () => Tensor,
    private readonly trace?: Trace,
  ) {
    this.plan = mergePlan(features, settings.options);
    this.width = features.original.width;
    this.height = features.original.height;
  }

  /** Window boxes [N, 4], for the current scope. */
  private get boxes(): Tensor {
    return Tensor.from(this.plan.boxes, [this.plan.boxes.length / 4, 4]);
  }

  /** Bytes that the route needs at its widest; for `plan`. */
  static bytes(settings: ReadOutSettings, classes: number, queries: number, width: number, height: number): number {
    const pixels = width * height;
    // Volumes of logits, probabilities, unaries and marginals; the lattice, whose size depends on the picture: a row a class for
    // about every pixel, where noise would take several.
    if (settings.refine.kind === 'crf') return pixels * 4 * (10 * classes + queries + 100);
    const { refine } = settings;
    const scratch = refine.kind === 'pamr' ? Math.min(pamrScratch, 4 * pixels * (8 * refine.dilations.length + 8)) : 0;
    const refined = refine.kind === 'pamr' ? queries + 3 : 0;
    if (settings.outputs.probabilities) return pixels * 4 * (classes + queries + refined) + scratch;
    const { rows, halo, chunk } = bandsOf(settings, width, height, 0);
    const state = rows * width * 4 * statePlanes(settings);
    const extent = Math.min(height, rows + 2 * halo);
    const volumes =
      refine.kind === 'pamr' ? (Math.min(chunk, queries) + 1) * extent * width * 4 * volumePlanes + scratch : 0;
    // Labels and scores of a band leave through copies of their own.
    return state + volumes + rows * width * 8;
  }

  run(): Promise<Planes> {
    const { refine, outputs } = this.settings;
    return scope(async () => {
      if (refine.kind === 'crf') return this.throughCrf(refine);
      const planes = await this.inBands(refine);
      if (!outputs.probabilities) return planes;
      return { ...planes, probabilities: (await this.probabilityVolume(refine).data()) as Float32Array };
    });
  }

  /** Score maps [N, S', h, w] of queries begin..end-1. */
  private scores(begin: number, end: number): Tensor {
    const { system, features, queries, settings } = this;
    const shape = (maps: Tensor) =>
      maps.reshape(maps.shape[0] as number, maps.shape[1] as number, this.plan.grid[0], this.plan.grid[1]);
    if (this.allScores && !this.allScores.disposed) return shape(this.allScores.slice(1, begin, end).contiguous());
    const maps = system.scores(features, queries.text.slice(0, begin, end).contiguous(), settings.options); // [N, S', P]
    return shape(maps);
  }

  /** Keeps all maps where they are small or must be rewritten together. */
  private prepareScores(): void {
    const { system, features, queries, settings } = this;
    const count = queries.classOf.length;
    const bytes = (features.features.size / (features.features.shape[2] as number)) * count * 4;
    const refines = system.refines(settings.options);
    if (!refines && bytes > settings.budget / 4) return;
    const maps = system.scores(features, queries.text, settings.options); // [N, S, P]
    this.allScores = refines && system.refine ? system.refine(maps, features, settings.options) : maps;
    this.trace?.put('window_logits_lowres', this.scores(0, count));
  }

  private classOf(begin: number, end: number): Tensor {
    const { excluded } = this.settings;
    const classes = this.queries.classOf.slice(begin, end);
    return Tensor.from(excluded ? classes.map((c) => (excluded.has(c) ? -1 : c)) : classes);
  }

  private async inBands(refine: Refine): Promise<Planes> {
    const { settings, width, height, features } = this;
    const mapBytes = (features.features.size / (features.features.shape[2] as number)) * 4;
    const bands = bandsOf(settings, width, height, mapBytes);
    const host = new HostPlanes(width, height, settings);
    this.prepareScores();
    const source = refine.kind === 'pamr' ? this.guideSource() : undefined;
    for (let row = 0; row < height; row += bands.rows) {
      await this.band(row, Math.min(bands.rows, height - row), refine, bands, source, host);
    }
    return host.planes();
  }

  private async band(
    row0: number,
    rows: number,
    refine: Refine,
    { halo, chunk }: Bands,
    guideSource: Tensor | undefined,
    host: HostPlanes,
  ): Promise<void> {
    await scope(async () => {
      const { width, settings } = this;
      const flags = scoreFlags(settings, settings.options.logitScale);
      let state = scoreInit(rows, width, settings.outputs.topk);
      const total = this.queries.classOf.length;
      const top = Math.max(0, row0 - halo);
      const bottom = Math.min(this.height, row0 + rows + halo);
      const guide = guideSource && this.guide(guideSource, top, bottom); // [3, rows + halo, W]
      for (let begin = 0; begin < total; begin += chunk) {
        const end = Math.min(begin + chunk, total);
        state = scope(() => {
          const maps = this.scores(begin, end);
          const classes = this.classOf(begin, end);
          if (!guide || refine.kind !== 'pamr')
            return windowMerge(state, maps, this.boxes, classes, { ...this.plan.geometry, row0, rows }, flags);
          const volume = windowUpsample(maps, this.boxes, { ...this.plan.geometry, row0: top, rows: bottom - top }); // [S', rows + halo, W]
          const refined = pamr(guide, volume, { iterations: refine.steps, dilations: refine.dilations });
          return scoreUpdate(state, refined.slice(1, row0 - top, row0 - top + rows).contiguous(), classes, flags);
        });
        // Keeps at most two chunks ahead of the kernels.
        await sync();
      }
      await host.take(state, row0, rows);
    });
  }

  /** The network's input: what PAMR compares, before it is stretched. [1, 3, h', w'] */
  private guideSource(): Tensor {
    const { options } = this.settings;
    return scope(() => {
      const canvas = resizeToCanvas(this.image(), this.features);
      const input = normaliseImage(
        canvas,
        Tensor.from(Float32Array.from(options.mean)),
        Tensor.from(Float32Array.from(options.std)),
      );
      return input.reshape(1, ...input.shape);
    });
  }

  /** Its rows top..bottom-1 at the picture's size, bilinear: one window over the whole canvas. [3, rows, W] */
  private guide(source: Tensor, top: number, bottom: number): Tensor {
    const [, , h = 0, w = 0] = source.shape;
    return scope(() => {
      const whole = Tensor.from(Int32Array.of(0, 0, h, w), [1, 4]);
      return windowUpsample(source, whole, {
        canvas: [h, w],
        window: [h, w],
        out: [this.height, this.width],
        row0: top,
        rows: bottom - top,
      });
    });
  }

  /** Logits of all queries at the picture's size, refined. [S, H, W] */
  private logitVolume(refine: Refine): Tensor {
    return scope(() => {
      const count = this.queries.classOf.length;
      const maps = this.scores(0, count);
      const volume = windowUpsample(maps, this.boxes, this.plan.geometry);
      if (this.trace?.wants('merged_logits')) {
        this.trace.put(
          'merged_logits',
          windowUpsample(maps, this.boxes, { ...this.plan.geometry, out: this.plan.geometry.canvas }),
        );
      }
      this.trace?.put('logits_original_size', volume);
      if (refine.kind !== 'pamr') return volume;
      const refined = pamr(this.guide(this.guideSource(), 0, this.height), volume, {
        iterations: refine.steps,
        dilations: refine.dilations,
      });
      this.trace?.put('pamr_logits', refined);
      return refined;
    });
  }

  /** Class probabilities at the picture's size. [Q, H, W] */
  probabilityVolume(refine: Refine): Tensor {
    return scope(() => {
      if (!this.allScores || this.allScores.disposed) this.prepareScores();
      const { options } = this.settings;
      return classProbabilities(this.logitVolume(refine), Tensor.from(this.queries.classOf), {
        scale: options.logitScale,
        classes: this.queries.classes,
        renormalise: options.renormalise && refine.kind !== 'crf',
      });
    });
  }

  private async throughCrf(refine: Extract<Refine, { kind: 'crf' }>): Promise<Planes> {
    const { settings, queries, width, height } = this;
    const needed = ReadOut.bytes(settings, queries.classes, queries.classOf.length, width, height);
    if (needed > settings.budget) {
      throw new WordmaskError(
        'E_MEMORY_PLAN',
        `refine 'crf' couples all ${queries.classes} labels over ${width} x ${height} pixels and would need ${needed} bytes; the budget is ${settings.budget}: use refine 'pamr' or 'none', fewer labels, a smaller picture, or raise \`memory\``,
        { details: { needed, limit: settings.budget } },
      );
    }
    const host = new HostPlanes(width, height, {
      ...settings,
      threshold: 0,
      options: { ...settings.options, logitScale: 1 },
    });
    const extra = settings.threshold > 0;
    const probabilities = this.probabilityVolume(refine); // [Q, H, W]
    const volume = extra ? concat([probabilities, fill([1, height, width], settings.threshold)], 0) : probabilities;
    const unary = unaryFromSoftmax(volume);
    this.trace?.put('unary', unary);
    const marginals =
      refine.iterations === 0 ? div(volume, sum(volume, 0, true)) : denseCrf(this.image(), unary, refine);
    this.trace?.put('crf_marginals', marginals);
    const classes = Int32Array.from({ length: volume.shape[0] as number }, (_, c) =>
      settings.excluded?.has(c) ? -1 : c,
    );
    if (extra) classes[queries.classes] = settings.background >= 0 ? settings.background : queries.classes;
    // The running best works on logits: logarithms of marginals, whose softmax is the marginals themselves.
    const state = scoreUpdate(
      scoreInit(height, width, settings.outputs.topk),
      log(clamp(marginals, 1e-30, 1)),
      Tensor.from(classes),
      scoreFlags(settings, 1),
    );
    await host.take(state, 0, height);
    const planes = host.planes();
    const hidden = queries.classes;
    if (extra && settings.background < 0) {
      await inSlices(planes.labels.length, 1 << 20, (begin, end) => {
        for (let i = begin; i < end; i++) if (planes.labels[i] === hidden) planes.labels[i] = -1;
      });
    }
    return settings.outputs.probabilities
      ? { ...planes, probabilities: (await marginals.slice(0, 0, queries.classes).data()) as Float32Array }
      : planes;
  }
}
