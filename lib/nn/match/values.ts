/** Named values of a matching model, as tensors on the tape. */
import { adopt, matmul, retain, type Tensor } from '../../engine/index.js';
import { WordmaskError } from '../../util/errors.js';
import type { BertTaps, TextBatch } from '../bert.js';
import { knownNames } from '../inputs.js';
import type { Taps } from '../vision-tower.js';
import { crossAttentionCams, type MatchCore } from './core.js';

const count = (name: string, from: number, to: number) =>
  Array.from({ length: Math.max(0, to - from) }, (_, i) => `${name}.${from + i}`);

export function matchNames(core: MatchCore): string[] {
  const tower = (name: 'vision' | 'text') => [
    ...count(`${name}.hidden`, 0, core.towers[name] + 1),
    ...count(`${name}.attention`, 0, core.towers[name]),
  ];
  return [
    'itm_logits',
    ...(core.names.vision.includes('image_embeds') ? ['cosine_score'] : []),
    ...core.names.vision,
    ...core.names.text,
    ...core.names.last,
    ...core.layers.flatMap((layer) => [`cross_attention.${layer}`, `cross_attention_gradient.${layer}`]),
    ...count('multimodal.hidden', core.first, core.end + 1),
    ...count('multimodal.attention', core.first, core.end),
    ...tower('vision'),
    ...tower('text'),
  ];
}

/** Spellings of reference outputs. */
const plainAliases: Readonly<Record<string, string>> = {
  image_feature: 'image_embeds',
  text_feature: 'text_embeds',
  multimodal: 'multimodal.last_hidden',
  multimodal_image: 'multimodal.image_last_hidden',
  image_embeds_normalised: 'image_embeds',
  text_embeds_normalised: 'text_embeds',
};

export function matchAlias(name: string): string {
  return (
    plainAliases[name] ??
    name
      .replace(/^A\.(\d+)$/, 'cross_attention.$1')
      .replace(/^G\.(\d+)$/, 'cross_attention_gradient.$1')
      .replace(/^cross_attentions\.(\d+)$/, 'cross_attention.$1')
  );
}

/** What a run needs, read only where a value asked for depends on it. */
export interface MatchInputs {
  readonly pixels: () => Tensor;
  readonly text: () => TextBatch;
}

/** @throws E_OPTION for a name the model does not have; what the inputs throw */
export function matchValues(core: MatchCore, inputs: MatchInputs, names: readonly string[]): Record<string, Tensor> {
  const canonical = knownNames(names, new Set(matchNames(core)), matchAlias);
  return Object.fromEntries(new Run(core, inputs, new Set(canonical)).values(names, canonical));
}

class Run {
  private readonly found = new Map<string, Tensor>();
  private image: unknown;

  constructor(
    private readonly core: MatchCore,
    private readonly inputs: MatchInputs,
    private readonly wanted: ReadonlySet<string>,
  ) {}

  values(names: readonly string[], canonical: readonly string[]): [string, Tensor][] {
    const { core, wanted } = this;
    const any = (pattern: RegExp) => [...wanted].some((name) => pattern.test(name));
    const score = wanted.has('cosine_score');
    const text = score || any(/^text[._]/) || core.names.text.some((name) => wanted.has(name));
    const fused =
      any(/^(itm_logits$|cross_attention|multimodal\.)/) || core.names.last.some((name) => wanted.has(name));
    const vision = score || fused || any(/^vision\./) || core.names.vision.some((name) => wanted.has(name));
    if (vision) this.vision(score);
    if (text) this.text(score);
    if (fused) this.fused();
    if (score) {
      const [a, b] = ['image_embeds', 'text_embeds'].map((name) => this.found.get(name)) as [Tensor, Tensor];
      this.found.set('cosine_score', matmul(a, b, { transposeB: true }));
    }
    for (const [name, value] of this.found)
      if (/\.(hidden|attention)\.\d+$|^cross_attention\./.test(name)) adopt(value);
    return names.map((name, i) => [name, this.take(canonical[i] as string)]);
  }

  private take(name: string): Tensor {
    const value = this.found.get(name);
    if (value) return value;
    throw new WordmaskError('E_OPTION', `inspect: this model has no value '${name}'`, { details: { name } });
  }

  /** Keeps a value that a nested scope would free. */
  private hold(name: string, value: Tensor): void {
    if (this.wanted.has(name)) this.found.set(name, retain(value));
  }

  private tower(name: 'vision' | 'text'): Taps {
    const maps = [...this.wanted].some((wanted) => wanted.startsWith(`${name}.attention.`));
    return {
      hidden: (i, x) => this.hold(`${name}.hidden.${i}`, x),
      ...(maps ? { attention: (i: number, map: Tensor) => this.hold(`${name}.attention.${i}`, map) } : {}),
    };
  }

  private add(values: Readonly<Record<string, () => Tensor>>, more: readonly string[] = []): void {
    for (const [name, value] of Object.entries(values))
      if ((this.wanted.has(name) || more.includes(name)) && !this.found.has(name)) {
        // Two names of one value are two handles: each is the caller's to free.
        const tensor = value();
        this.found.set(name, [...this.found.values()].includes(tensor) ? adopt(retain(tensor)) : tensor);
      }
  }

  private vision(score: boolean): void {
    this.image = this.core.vision(this.inputs.pixels(), this.tower('vision'));
    this.add(this.core.visionValues(this.image), score ? ['image_embeds'] : []);
  }

  private text(score: boolean): void {
    this.add(this.core.textValues(this.inputs.text(), this.tower('text')), score ? ['text_embeds'] : []);
  }

  private fused(): void {
    const { core, wanted } = this;
    const text = this.inputs.text();
    const image = core.repeat(this.image, text.batch);
    let state = core.join(image, text);
    this.add(core.stateValues(state, core.first));
    const maps = (name: string) => [...wanted].some((one) => one.startsWith(name));
    const [cross, self] = [maps('cross_attention.'), maps('multimodal.attention.')];
    for (let layer = core.first; layer < core.end; layer++) {
      const taps: BertTaps = {
        ...(cross ? { crossAttention: (map: Tensor) => this.hold(`cross_attention.${layer}`, map) } : {}),
        ...(self ? { selfAttention: (map: Tensor) => this.hold(`multimodal.attention.${layer}`, map) } : {}),
      };
      state = core.step(state, layer, taps);
      this.add(core.stateValues(state, layer + 1));
    }
    if (wanted.has('itm_logits')) this.found.set('itm_logits', core.logits(state));
    const places = core.layers.filter((layer) => wanted.has(`cross_attention_gradient.${layer}`));
    if (places.length === 0) return;
    const { cams } = crossAttentionCams(
      core,
      image,
      text,
      places.map((layer) => ({ layer })),
    );
    places.forEach((layer, i) => {
      this.found.set(`cross_attention_gradient.${layer}`, (cams[i] as { gradient: Tensor }).gradient);
    });
  }
}
