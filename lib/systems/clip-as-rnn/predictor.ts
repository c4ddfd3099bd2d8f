/** One picture through CLIP as RNN: texts, rounds of proposals and scores, channels. */
import type { OpenedClip } from '../../backbones/clip/index.js';
import { concat, max, scope, Tensor, fill as zeros } from '../../engine/index.js';
import type { DecodedImage } from '../../image/decode.js';
import type {
  Explained,
  PredictContext,
  Prediction,
  Predictor,
  PredictorPlan,
  PredictorWords,
} from '../../post/predictor.js';
import type { Trace } from '../../post/read-out.js';
import { show } from '../../util/errors.js';
import { type Layer, mergedSentences, paint, refinedShares, stretched } from './channels.js';
import { type LoopResult, type Round, recur } from './loop.js';
import type { CarOptions } from './options.js';
import { type PromptKind, VisualPrompts } from './prompts.js';
import { type CamPicture, camBytes, camPicture, proposals } from './proposals.js';
import { scoreMatrix, scoringInput, scoringRows, scoringSize, TextRows } from './scoring.js';
import { fill, stuffOf, wrapper } from './texts.js';

const perRound = [
  ...['cam_text_features', 'ln1_gradient', 'probabilities', 'cam', 'boxes', 'box_mask', 'refined', 'proposals'],
  ...['prompted', 'scoring_input', 'scores_per_template', 'scores', 'kept'],
];
/** Rounds whose values `trace` knows. */
const tracedRounds = 16;
const stages = [
  ...['normalised_input', 'last_block_input', 'ln1_activation', 'attention_mean_of_last_8', 'affinity'],
  ...['background_text_features', 'unary', 'crf_marginals', 'masks', 'text_scores'],
];
/** Prompted pictures that are encoded together. */
const pictureGroup = 8;

/** A text of a run and the label it belongs to. */
interface Text {
  readonly label: number;
  readonly text: string;
}

/** What differs between the run of the things and that of the stuff. */
interface Run {
  readonly texts: readonly Text[];
  readonly background: readonly string[];
  readonly kinds: readonly PromptKind[];
  readonly factor: number;
}

export class CarPredictor implements Predictor<CarOptions> {
  readonly traces: readonly string[];
  readonly #camTexts: TextRows;
  readonly #scoringTexts: TextRows;

  constructor(
    readonly cam: OpenedClip,
    readonly scoring: OpenedClip,
  ) {
    const rounds = Array.from({ length: tracedRounds }, (_, r) => perRound.map((name) => `round${r}.${name}`));
    this.traces = [...stages, ...rounds.flat()];
    this.#camTexts = new TextRows(cam);
    this.#scoringTexts = cam === scoring ? this.#camTexts : new TextRows(scoring);
  }

  traceAlias(name: string): string | undefined {
    if (name === 'cam_pixel_values') return 'normalised_input';
    if (/^crf\.unary/.test(name)) return 'unary';
    return /^crf\.Q\d+/.test(name) ? 'crf_marginals' : undefined;
  }

  async predict(
    image: DecodedImage,
    words: PredictorWords,
    options: CarOptions,
    context: PredictContext,
  ): Promise<Prediction> {
    const runs = runsOf(words, options);
    const picture = camPicture(this.cam, image, context.trace);
    await picture.affinity.slice(0, 0, 0).data();
    context.stage('encode');
    const layers: Layer[] = [];
    for (const run of runs) layers.push(...(await this.#run(image, picture, run, options, context)));
    if (layers.length > 0) return withPolicy(await paint(layers, image, context.signal), words);
    if (runs.length > 0) context.warn('the maps of all texts are empty: nothing was found');
    return {
      logits: Tensor.from(new Float32Array(image.width * image.height), [1, image.height, image.width]),
      channels: [-1],
    };
  }

  /** Proposals of the last round; a label all of whose texts left before has none. Behind a refiner shares against background. */
  async explain(
    image: DecodedImage,
    words: PredictorWords,
    asked: readonly number[],
    options: CarOptions,
    context: PredictContext,
  ): Promise<Explained> {
    const picture = camPicture(this.cam, image, context.trace);
    await picture.affinity.slice(0, 0, 0).data();
    context.stage('encode');
    const found = new Map<number, Tensor>();
    const refines = context.refine !== undefined && context.refine.name !== 'none';
    for (const run of runsOf(words, options)) {
      const owner = (text: number): number => (run.texts[text] as Text).label;
      if (!run.texts.some(({ label }) => asked.includes(label))) continue;
      const { maps, texts } = await this.#loop(image, picture, run, options, context);
      if (!maps) continue;
      const proposed = stretched(maps, picture.grid, image); // [n, H, W]
      const rows = refines
        ? refinedShares(image, proposed, run.factor, options, context).slice(0, 1, texts.length + 1)
        : proposed;
      for (const label of asked) {
        const own = texts.flatMap((text, i) => (owner(text) === label ? [rows.slice(0, i, i + 1).contiguous()] : []));
        if (own.length > 0) found.set(label, max(concat(own, 0), 0, true));
      }
    }
    for (const label of asked)
      if (!found.has(label))
        context.warn(
          `${show(words.labels[label]?.name)} left the loop: its texts scored lower than those it competed with`,
        );
    const empty = zeros([1, image.height, image.width], 0);
    context.stage(refines ? 'refine' : 'match');
    return {
      maps: concat(
        asked.map((label) => found.get(label) ?? empty),
        0,
      ),
      labels: asked,
      values: refines ? 'probability' : 'salience',
    };
  }

  plan(width: number, height: number, words: PredictorWords, options: CarOptions): PredictorPlan {
    const texts = runsOf(words, options).reduce((sum, run) => sum + run.texts.length, 0);
    const volumes = width * height * 4 * (options.crf ? 10 * (texts + 1) + 100 : 5 * (texts + 1));
    const { patch, width: channels } = this.scoring.config.vision;
    const tokens = (scoringSize(this.scoring, options.scoringSize) / patch) ** 2;
    const scored = pictureGroup * (3 * width * height + 24 * 4 * tokens * channels);
    return {
      deviceBytes: Math.ceil(Math.max(camBytes(this.cam, width, height) + scored, volumes)),
      // Two rounds at least, each text drawn and scored in both.
      tiles: 1 + 2 * texts,
      batch: pictureGroup,
      route: options.crf ? 'cam-loop-crf' : 'cam-loop',
    };
  }

  /** The layers that a run paints, from the bottom; none where it found nothing. */
  async #run(
    image: DecodedImage,
    picture: CamPicture,
    run: Run,
    options: CarOptions,
    context: PredictContext,
  ): Promise<Layer[]> {
    const found = await this.#loop(image, picture, run, options, context);
    const { maps, texts, scores } = found;
    if (context.trace?.wants('text_scores')) {
      const all = new Float32Array(run.texts.length);
      if (maps) texts.forEach((text, i) => void (all[text] = scores[i] as number));
      context.trace.put('text_scores', Tensor.from(all));
    }
    if (!maps) return [];
    const rows = texts.map((text) => (run.texts[text] as Text).label);
    const shares = (list: readonly Float32Array[]): Promise<Float32Array> =>
      scope(async () => {
        const proposed = stretched(list, picture.grid, image);
        return (await refinedShares(image, proposed, run.factor, options, context).data()) as Float32Array;
      });
    const layers =
      options.mode === 'semantic'
        ? [{ labels: rows, shares: await shares(maps) }]
        : await sentences(rows, maps, scores, (map) => shares([map]));
    context.stage('refine');
    return layers;
  }

  async #loop(
    image: DecodedImage,
    picture: CamPicture,
    run: Run,
    options: CarOptions,
    context: PredictContext,
  ): Promise<LoopResult> {
    const { trace, signal } = context;
    const warn = context.warn;
    const background = await this.#camTexts.of(
      run.background.map((text) => fill(wrapper, text)),
      warn,
    );
    trace?.put('background_text_features', background);
    const prompts = await VisualPrompts.of(image, run.kinds, signal);
    return recur(run.texts.length, options.confidenceThreshold, (round) =>
      // Only maps and scores leave a round.
      scope(async () => {
        signal?.throwIfAborted();
        const number = round.history.length;
        // Names alone in the first round, wrapped in all others.
        const named = round.texts.map((i) => (run.texts[i] as Text).text);
        const texts = number === 0 ? named : named.map((text) => fill(wrapper, text));
        const foreground = await this.#camTexts.of(texts, warn);
        trace?.put(`round${number}.cam_text_features`, foreground);
        const maps = await proposals(this.cam, picture, { foreground, background }, options, { round: number, trace });
        context.stage('match');
        const scores = await this.#score(image, picture, maps, { prompts, round, run, named }, options, context);
        context.stage('encode');
        return { maps, scores };
      }),
    );
  }

  /** Score of each text of a round: of the picture with its map drawn into it, against all texts. */
  async #score(
    image: DecodedImage,
    picture: CamPicture,
    maps: readonly Float32Array[],
    { prompts, round, run, named }: { prompts: VisualPrompts; round: Round; run: Run; named: readonly string[] },
    options: CarOptions,
    { trace, signal, warn }: PredictContext,
  ): Promise<number[]> {
    const number = round.history.length;
    const groups = scoringTexts(named, run, round, options);
    const texts: Tensor[] = [];
    for (const group of groups) texts.push(await this.#scoringTexts.of(group, warn));
    const size = scoringSize(this.scoring, options.scoringSize);
    const drawn = new DrawnValues(trace, number);
    const rows: Tensor[] = [];
    for (let begin = 0; begin < maps.length; begin += pictureGroup) {
      const group = maps.slice(begin, begin + pictureGroup);
      const encode = async (): Promise<Tensor> => {
        const inputs: Tensor[] = [];
        for (const map of group) {
          const wide = (await scope(() => stretched([map], picture.grid, image).data())) as Float32Array;
          const prompted = await prompts.draw(wide, options.maskThreshold, signal);
          inputs.push(scoringInput(prompted, image.width, image.height, size));
          await drawn.keep({ proposals: wide, prompted, scoring_input: inputs.at(-1) as Tensor });
        }
        return scoringRows(this.scoring, concat(inputs, 0));
      };
      rows.push(await scope(encode));
    }
    drawn.put(image, size);
    const summed = options.mode === 'semantic' ? options.semanticTemplates.length > 0 : groups.length > 1;
    const { scores, perTemplate } = scoreMatrix(concat(rows, 0), texts, this.scoring.logitScale, summed);
    trace?.put(`round${number}.scores_per_template`, perTemplate);
    trace?.put(`round${number}.scores`, scores);
    trace?.put(`round${number}.kept`, Tensor.from(Int32Array.from(round.texts)));
    const matrix = (await scores.data()) as Float32Array;
    return maps.map((_, i) => matrix[i * maps.length + i] as number);
  }
}

/** What `trace` asks for of the pictures of a round, text by text. */
class DrawnValues {
  readonly #rows: Record<'proposals' | 'prompted' | 'scoring_input', (Float32Array | Uint8Array)[]> = {
    proposals: [],
    prompted: [],
    scoring_input: [],
  };

  constructor(
    private readonly trace: Trace | undefined,
    private readonly round: number,
  ) {}

  async keep(values: { proposals: Float32Array; prompted: Uint8Array; scoring_input: Tensor }): Promise<void> {
    if (this.#wants('proposals')) this.#rows.proposals.push(values.proposals);
    if (this.#wants('prompted')) this.#rows.prompted.push(values.prompted);
    if (this.#wants('scoring_input'))
      this.#rows.scoring_input.push((await values.scoring_input.data()) as Float32Array);
  }

  put({ width, height }: { width: number; height: number }, size: number): void {
    const shapes = {
      proposals: [height, width],
      prompted: [height, width, 3],
      scoring_input: [3, size, size],
    } as const;
    for (const [name, rows] of Object.entries(this.#rows)) {
      if (rows.length === 0) continue;
      const shape = [rows.length, ...shapes[name as keyof typeof shapes]];
      const joined = Buffer.concat(rows.map((row) => Buffer.from(row.buffer, row.byteOffset, row.byteLength)));
      const bytes = joined.buffer.slice(joined.byteOffset, joined.byteOffset + joined.byteLength);
      const value =
        name === 'prompted'
          ? Tensor.from(new Uint8Array(bytes), shape, 'u8')
          : Tensor.from(new Float32Array(bytes), shape);
      this.trace?.put(`round${this.round}.${name}`, value);
    }
  }

  #wants(name: string): boolean {
    return this.trace?.wants(`round${this.round}.${name}`) ?? false;
  }
}

/** Texts of each template for the texts of a round. */
function scoringTexts(
  named: readonly string[],
  run: Run,
  { texts, history }: Round,
  { mode, semanticTemplates, referCharacterQuirk }: CarOptions,
): string[][] {
  if (mode === 'semantic' && semanticTemplates.length > 0)
    return semanticTemplates.map((template) => named.map((text) => fill(template, text)));
  const wrapped = (list: readonly string[]): string[] => list.map((text) => fill(wrapper, text));
  if (mode === 'semantic' || !referCharacterQuirk || history.length === 0) return [wrapped(named)];
  // The published code takes the captions for templates and the kept texts for positions in them.
  return wrapped(run.texts.map(({ text }) => text)).map((caption) => texts.map((at) => caption[at] ?? ''));
}

/** One layer a label, the best score on top; sentences of one label are merged. */
async function sentences(
  labels: readonly number[],
  maps: readonly Float32Array[],
  scores: readonly number[],
  shares: (map: Float32Array) => Promise<Float32Array>,
): Promise<Layer[]> {
  const layers: (Layer & { score: number })[] = [];
  for (const label of new Set(labels)) {
    const mine = labels.flatMap((owner, i) => (owner === label ? [i] : []));
    const parts: Float32Array[] = [];
    for (const i of mine) parts.push(await shares(maps[i] as Float32Array));
    const own = mine.map((i) => scores[i] as number);
    layers.push({ labels: [label], shares: mergedSentences(parts, own), score: Math.max(...own) });
  }
  return layers.sort((a, b) => a.score - b.score);
}

/** The things' run, behind that of the stuff where there is any. */
function runsOf(words: PredictorWords, options: CarOptions): Run[] {
  const named = typeof options.stuff === 'string' ? stuffOf(options.stuff) : options.stuff;
  const isStuff = (label: number): boolean => {
    const { name, thing } = words.labels[label] as PredictorWords['labels'][number];
    return named.includes(name) || (named.length > 0 && thing === false);
  };
  const textsOf = (labels: readonly number[]): Text[] =>
    labels.flatMap((label) => (words.labels[label]?.prompts ?? []).map((text) => ({ label, text })));
  const stuff = textsOf(words.chosen.filter(isStuff));
  const things = textsOf(words.chosen.filter((label) => !isStuff(label)));
  const background = [...options.bgCls, ...words.backgroundPrompts];
  const runs: Run[] = [
    {
      texts: stuff,
      background: things.map(({ text }) => text),
      kinds: options.stuffVisualPromptType,
      factor: options.stuffBgFactor,
    },
    { texts: things, background, kinds: options.visualPromptType, factor: options.bgFactor },
  ];
  return runs.filter(({ texts }) => texts.length > 0);
}

/** Where the call's policy has no channel for background, the texts share its pixels. */
function withPolicy(prediction: Prediction, words: PredictorWords): Prediction {
  if (words.background === 'auto') return prediction;
  const { logits, channels } = prediction;
  return { logits: logits.slice(0, 1).contiguous(), channels: channels.slice(1) };
}
