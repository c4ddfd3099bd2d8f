/** A system that predicts by itself and nothing more: each label's channel is the share of one colour, background is what is dark. */
import { scope, Tensor as T, type Tensor } from '#lib/engine/index.js';
import type { Predictor, PredictorWords } from '#lib/post/predictor.js';
import type { PredictorSystemModule } from '#lib/registry/systems.js';
import { show, WordmaskError } from '#lib/util/errors.js';

export interface ToyOptions {
  /** A colour below this is dark. */
  readonly threshold: number;
  readonly gain: number;
  readonly wait: number;
}

const defaults: ToyOptions = { threshold: 0.2, gain: 4, wait: 0 };
const colours = ['red', 'green', 'blue'];

/** What was asked of the toy, for the tests. */
export const seen = { open: 0, running: 0, most: 0, order: [] as string[], roles: [] as string[], compute: '' };

const toy: Predictor<ToyOptions> = {
  traces: ['brightness'],
  traceAlias: (name) => (name === 'light' ? 'brightness' : undefined),
  async prepare({ labels, chosen }) {
    for (const index of chosen) colourOf(labels[index]?.name ?? '');
  },
  async predict(image, words, { threshold, gain, wait }, context) {
    seen.most = Math.max(seen.most, ++seen.running);
    seen.order.push(words.labels[words.chosen[0] ?? 0]?.name ?? '');
    try {
      if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
      context.signal?.throwIfAborted();
      if (words.chosen.length === 0) context.warn('no label may appear');
      return scope(() => {
        const { channels, data } = volume(image, words, threshold, gain);
        const logits: Tensor = T.from(data, [channels.length, image.height, image.width]);
        const bright = Float32Array.from({ length: image.width * image.height }, (_, i) => brightness(image.data, i));
        context.trace?.put('brightness', T.from(bright, [image.height, image.width]));
        context.stage('match');
        return { logits, channels };
      });
    } finally {
      seen.running--;
    }
  },
  plan: (width, height, { chosen }) => ({
    deviceBytes: width * height * 4 * (chosen.length + 1),
    tiles: 1,
    batch: 1,
    route: 'toy',
  }),
};

function colourOf(name: string): number {
  const at = colours.indexOf(name);
  if (at < 0) throw new WordmaskError('E_LABEL', `the toy knows red, green and blue, got ${show(name)}`);
  return at;
}

const brightness = (data: Uint8Array, i: number): number =>
  Math.max(data[3 * i] as number, data[3 * i + 1] as number, data[3 * i + 2] as number) / 255;

function volume(
  { data: rgb, width, height }: { data: Uint8Array; width: number; height: number },
  { labels, chosen, background }: PredictorWords,
  threshold: number,
  gain: number,
): { channels: number[]; data: Float32Array } {
  const pixels = width * height;
  const channels = [...(background === 'auto' ? [-1] : []), ...chosen];
  const data = new Float32Array(channels.length * pixels);
  channels.forEach((label, c) => {
    const colour = label < 0 ? 0 : colourOf(labels[label]?.name ?? '');
    for (let i = 0; i < pixels; i++)
      data[c * pixels + i] = gain * (label < 0 ? threshold : (rgb[3 * i + colour] as number) / 255);
  });
  return { channels, data };
}

export const toyPredictor = {
  info: {
    name: 'toy-predictor',
    title: 'Toy predictor',
    paper: 'none',
    year: 2026,
    kind: 'semantic',
    supervision: 'none',
    backbones: ['clip'],
    licence: { code: 'none', weights: 'none' },
    tasks: ['semantic'],
    separable: false,
  },
  defaults,
  presets: { bright: { options: { threshold: 0.6 }, source: 'the test', classes: 'voc21' } },
  optionNames: ['threshold', 'gain', 'wait'],
  dtypes: ['f32'],
  roles: [{ name: 'second', backbones: ['clip'], optional: true }],
  check(...layers) {
    const merged = Object.assign({}, defaults, ...layers) as ToyOptions;
    for (const [key, value] of Object.entries(merged))
      if (!(key in defaults) || typeof value !== 'number')
        throw new WordmaskError('E_OPTION', `toy: ${key} is ${show(value)}`, { details: { option: key } });
    return merged;
  },
  async open({ folders, openers, compute }) {
    seen.open++;
    seen.compute = compute;
    seen.roles = Object.keys(folders);
    const clip = await openers.clip('main');
    const second = folders.second && (await openers.clip('second'));
    return {
      predictor: toy as Predictor,
      sizes: { patch: 1, image: 1, embed: 1, width: 1, parametersBytes: 0 },
      hash: 'toy',
      dispose() {
        seen.open--;
        clip.dispose();
        second?.dispose();
      },
    };
  },
} as const satisfies PredictorSystemModule;
