/** Every op card on a device: each tier against the reference, against the CPU and against the portable tier. */
import { addon } from '#lib/binding/addon.js';
import { deviceNumber } from '#lib/engine/device-table.js';
import { type Attrs, type DType, type OpCard, onDevice, opCards, type Sample, scope } from '#lib/engine/index.js';
import { check, limitOf, outputsOf, prepare } from '../helpers/op-checks.js';
import { relL2 } from '../helpers/samples.js';
import type { Counter, Unit } from './counter.js';

export interface CardOptions {
  readonly device: string;
  /** Tiers to run, 3 first; a device without a tier runs the next lower one. */
  readonly tiers: readonly number[];
  readonly only: readonly string[];
  /** The smallest sample of a card alone: what the tools of the toolkit can take. */
  readonly smallest: boolean;
}

type Outputs = Awaited<ReturnType<typeof outputsOf>>;

const elements = (sample: Sample) =>
  sample.inputs.reduce((sum, input) => sum + (input ? input.shape.reduce((n, x) => n * x, 1) : 0), 0);

function samplesOf(card: OpCard, smallest: boolean): readonly Sample[] {
  if (!smallest) return card.samples;
  const filled = card.samples.filter((sample) => elements(sample) > 0);
  return filled.sort((a, b) => elements(a) - elements(b)).slice(0, 1);
}

/** A launcher reads the limit at every call, so the tiers of one process can be compared. */
function holdToTier(tier: number): void {
  process.env.WORDMASK_CUDA_TIER = String(tier);
}

/** Two right results are no further apart than twice what either may be from the reference. */
function compare(counter: Counter, card: OpCard, float: DType, label: string, found: Outputs, other: Outputs): void {
  found.forEach((output, i) => {
    const wanted = other[i] as Outputs[number];
    const limit = 2 * limitOf(card, float, output.dtype);
    const error = relL2(output.values, wanted.values);
    counter.ok(error <= limit, `${label}: output ${i} relL2 ${error.toExponential(2)} <= ${limit}`);
  });
}

async function checkSample(counter: Counter, card: OpCard, sample: Sample, float: DType, options: CardOptions) {
  const { refs, make } = prepare(card, sample, float);
  const expected = card.reference(refs, { ...card.attrs, ...sample.attrs } as Attrs);
  const attrs = sample.attrs ?? {};
  const cpu = await scope(() => outputsOf(card, make(false), attrs));
  let portable: Outputs | undefined;
  for (const tier of [...options.tiers].sort()) {
    holdToTier(tier);
    const label = `${sample.name} ${float} tier ${tier}`;
    await onDevice(options.device, () =>
      scope(async () => {
        const plain = await outputsOf(card, make(false), attrs);
        check(counter, card, label, float, plain, expected);
        compare(counter, card, float, `${label} against the CPU`, plain, cpu);
        if (portable) compare(counter, card, float, `${label} against tier 1`, plain, portable);
        portable ??= plain;
        const strided = card.inPlace ? plain : await outputsOf(card, make(true), attrs);
        check(counter, card, `${label} strided`, float, strided, expected);
        const again = await outputsOf(card, make(false), attrs);
        const same = again.every((out, i) => Buffer.compare(out.bytes, (plain[i] as Outputs[number]).bytes) === 0);
        counter.ok(same, `${label}: the same bytes twice`);
      }),
    );
  }
}

/** f64 is for gradient checks on the CPU; hosts' own algorithms have no kernel. */
export function cardUnits(options: CardOptions): Unit[] {
  const { only, device } = options;
  return ([...opCards().values()] as OpCard[])
    .filter((card) => !card.composite && !card.hostOnly && (only.length === 0 || only.includes(card.name)))
    .map((card) => ({ id: `cards: ${card.name}`, run: (counter) => checkCard(counter, card, device, options) }));
}

async function checkCard(counter: Counter, card: OpCard, device: string, options: CardOptions): Promise<void> {
  const before = process.env.WORDMASK_CUDA_TIER;
  try {
    if (!counter.ok(addon().deviceHasOp(deviceNumber(device), card.name), 'has no kernel')) return;
    for (const sample of samplesOf(card, options.smallest)) {
      const dtypes = (sample.dtypes ?? (['f32'] as DType[])).filter((dtype) => dtype !== 'f64');
      for (const float of dtypes) await checkSample(counter, card, sample, float, options);
    }
  } finally {
    if (before === undefined) delete process.env.WORDMASK_CUDA_TIER;
    else process.env.WORDMASK_CUDA_TIER = before;
  }
}
