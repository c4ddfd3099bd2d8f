/**
 * Layer, head and threshold chosen on pictures without masks: random search by the reward of a CLIP (section 10 of the method's
 * page). What a picture shows at a layer is kept for all heads, so that a later sample of the layer costs the CLIP alone.
 */
import { clipMean, clipStd } from '../../backbones/clip/preprocess.js';
import { normaliseImage, resize, scope, Tensor } from '../../engine/index.js';
import type { DecodedImage } from '../../image/decode.js';
import type { PredictorWords } from '../../post/predictor.js';
import type { OptionSearch, Rewarder, SearchWords } from '../../post/tuning.js';
import { ByteLru } from '../../util/byte-lru.js';
import { WordmaskError } from '../../util/errors.js';
import { buildCaptions } from './caption.js';
import type { ClipClasses } from './clip-classes.js';
import { salience } from './drop.js';
import { classMaps } from './maps.js';
import { type PnpOptions, pnpOptionNames, pnpOptions } from './options.js';
import { captionWords, PnpPredictor, squashed } from './predictor.js';
import { countRewarded, matchShares, rewardMasks } from './reward.js';

const thresholds = [0.05, 0.15, 0.25, 0.35, 0.45];
const blurs = [0.02, 0.03, 0.04, 0.05, 0.06];
const mostGroups = 3;

export const search: OptionSearch = {
  source:
    'arXiv 2311.17095, appendix (34 evaluations in each of three groups of layers); reward of letitiabanana/PnP-OVSS, get_clipsim_for_pnmask',
  evaluations: 34,
  groups(_words, system, fixed) {
    const { model } = predictorOf(system);
    const { layers } = model;
    const count = Math.min(mostGroups, layers.length);
    const groups = Array.from({ length: count }, (_, g) => {
      const bound = (k: number): number => Math.floor((k * layers.length) / count);
      // The gradient of the last layer is 0 for every word.
      return layers.slice(bound(g), bound(g + 1)).filter((layer) => layer !== layers.at(-1));
    });
    return groups
      .filter((own) => own.length > 0)
      .map((own) => ({
        name: `layers ${own[0]}-${own.at(-1)}`,
        grid: {
          layer: own,
          head: Array.from({ length: model.heads }, (_, head) => head),
          threshold: thresholds,
          ...(fixed.searchBlur === true && { rewardBlur: blurs }),
        },
      }));
  },
  async rewarder(system, words) {
    const predictor = predictorOf(system);
    if (predictor.clip === undefined)
      throw new WordmaskError(
        'E_OPTION',
        "pnp-ovss: the search asks a CLIP what it sees: open(model, { encoders: { clip: 'openai/clip-vit-large-patch14-336' } }), --encoder clip=...",
        { details: { option: 'encoders', role: 'clip' } },
      );
    if (searched(words).chosen.length < 2)
      throw new WordmaskError(
        'E_VOCAB',
        'pnp-ovss: the search compares classes with each other and needs at least two labels: add what else may be in the pictures',
        { details: { value: words.labels.length, limit: 2 } },
      );
    return new PnpRewarder(predictor, predictor.clip, words);
  },
};

function predictorOf(system: unknown): PnpPredictor {
  if (system instanceof PnpPredictor) return system;
  throw new WordmaskError('E_INTERNAL', 'pnp-ovss: the search was started with another system');
}

/** Words of a call that names none, or those of its `labels`. */
function searched({ labels }: SearchWords, names?: unknown): PredictorWords {
  const wanted = Array.isArray(names) ? new Set(names.map((name) => String(name).toLowerCase())) : undefined;
  const chosen = labels.flatMap(({ name, prompts, background }, index) =>
    background || prompts.length === 0 || wanted?.has(name.toLowerCase()) === false ? [] : [index],
  );
  return { labels, chosen, backgroundPrompts: [], ensemble: 'max', background: 'auto' };
}

/** Class maps of a picture at a layer, of all heads. */
interface Seen {
  readonly words: readonly string[];
  readonly heads: readonly Float32Array[];
}

export class PnpRewarder implements Rewarder {
  readonly #seen = new ByteLru<Seen>(256 << 20, ({ heads }) => heads.reduce((sum, map) => sum + map.byteLength, 64));
  #empty: Float32Array | undefined;

  constructor(
    private readonly predictor: PnpPredictor,
    private readonly clip: ClipClasses,
    private readonly words: SearchWords,
  ) {}

  /** Classes of the picture that the CLIP finds through their own map. */
  async reward(picture: DecodedImage, given: Readonly<Record<string, unknown>>, signal?: AbortSignal): Promise<number> {
    const options = pnpOptions(
      Object.fromEntries(Object.entries(given).filter(([key]) => pnpOptionNames.includes(key))),
    );
    this.predictor.check(options);
    const { words, heads } = await this.#look(picture, options, searched(this.words, given.labels), signal);
    if (words.length === 0) return 0;
    signal?.throwIfAborted();
    const side = options.imageSize / this.predictor.model.patch;
    const size = this.clip.imageSize;
    const maps = heads[options.head] as Float32Array;
    const { mask } = await rewardMasks(maps, side, size, options.threshold, options.rewardBlur);
    const positive = await this.#shown(picture, mask, words.length, size);
    this.#empty ??= (await this.#shown(picture, new Float32Array(size * size), 1, size))[0];
    const negative = words.map(() => this.#empty as Float32Array);
    return countRewarded(matchShares([...positive, ...negative], await this.clip.rows(words)));
  }

  async #look(
    picture: DecodedImage,
    options: PnpOptions,
    words: PredictorWords,
    signal: AbortSignal | undefined,
  ): Promise<Seen> {
    const key = `${picture.hash} ${options.layer}`;
    const known = this.#seen.get(key);
    if (known) return known;
    const present = await this.predictor.present(picture, words, options, { signal });
    const targets = this.predictor.targets(present, words, { ...options, caption: 'present' });
    const names = targets.map(({ prompts }) => prompts[0] as string);
    const seen = { words: names, heads: present.length === 0 ? [] : await this.#maps(picture, options, targets) };
    this.#seen.set(key, seen);
    return seen;
  }

  async #maps(
    picture: DecodedImage,
    options: PnpOptions,
    targets: ReturnType<PnpPredictor['targets']>,
  ): Promise<Float32Array[]> {
    const { model } = this.predictor;
    const captions = buildCaptions(model, captionWords(targets));
    const size = options.imageSize;
    const pixels = await squashed(picture, options);
    const all = Array.from({ length: model.heads }, (_, head) => head);
    return scope(async () => {
      const image = Tensor.from(pixels, [1, 3, size, size]);
      const rows = all.map((): Float32Array[] => []);
      for (const { ids } of captions) {
        const { probabilities, gradient } = model.crossAttention(image, ids, { layer: options.layer, heads: all });
        const keys = probabilities.shape.at(-1) as number;
        const [a, g] = (await Promise.all([probabilities.data(), gradient.data()])) as [Float32Array, Float32Array];
        const step = ids.length * keys;
        for (const head of all) {
          const part = (values: Float32Array): Float32Array => values.subarray(head * step, (head + 1) * step);
          rows[head]?.push(salience(part(a), part(g), ids.length, keys - 1));
        }
      }
      const cells = (size / model.patch) ** 2;
      return rows.map((sums) => classMaps(sums, captions, targets.length, cells, options));
    });
  }

  /** Rows of the picture seen through masks [n, size, size]: blackened in pixels, then normalised as CLIP's pictures are. */
  async #shown(picture: DecodedImage, mask: Float32Array, count: number, size: number): Promise<Float32Array[]> {
    return scope(async () => {
      const bytes = Tensor.from(picture.data, [picture.height, picture.width, 3], 'u8');
      // Squashed like the maps: a centre crop would not lie under them.
      const small = resize(bytes, { width: size, height: size, mode: 'pil_bicubic' });
      const zero = Tensor.from(new Float32Array(3));
      const one = Tensor.from(new Float32Array(3).fill(1));
      const unit = (await normaliseImage(small, zero, one, { unit: true }).data()) as Float32Array; // [3, n, n]
      const pixels = size * size;
      const seen = new Float32Array(count * unit.length);
      for (let k = 0; k < count; k++)
        for (let c = 0; c < 3; c++)
          for (let i = 0; i < pixels; i++) {
            const value = (unit[c * pixels + i] as number) * (mask[k * pixels + i] as number);
            seen[(3 * k + c) * pixels + i] = (value - (clipMean[c] as number)) / (clipStd[c] as number);
          }
      return this.clip.imageRows(Tensor.from(seen, [count, 3, size, size]));
    });
  }
}
