/**
 * Every op card on a device module: kernel against reference, strided inputs, the same bytes twice. The device is the emulated one
 * (test/simt) unless WORDMASK_TEST_DEVICE names another. Arguments (or WORDMASK_OPS) name the ops to run alone.
 */
import t from 'tap';
import { addon } from '#lib/binding/addon.js';
import { deviceNumber } from '#lib/engine/device-table.js';
import { type Attrs, type DType, type OpCard, onDevice, opCards, scope } from '#lib/engine/index.js';
import { check, outputsOf, prepare } from '../helpers/op-checks.js';
import { deviceUnderTest, noDevice } from '../helpers/simt.js';

const only = (process.env.WORDMASK_OPS ?? process.argv.slice(2).join(',')).split(',').filter(Boolean);
const skip = noDevice();
// Fibers are slow, and sanitizer builds slower.
t.setTimeout(1_800_000);
const cards = ([...opCards().values()] as OpCard[]).filter((card) => !card.composite && !card.hostOnly);
const hasKernel = (card: OpCard) => addon().deviceHasOp(deviceNumber(deviceUnderTest), card.name);

t.test('every card has a kernel, or says why not', { skip }, async (t) => {
  t.same(
    cards.filter((card) => !hasKernel(card)).map((card) => card.name),
    [],
    'no kernel on the device, neither composite nor hostOnly',
  );
});

async function checkSample(
  t: Parameters<typeof check>[0],
  card: OpCard,
  sample: OpCard['samples'][number],
  float: DType,
) {
  await scope(async () => {
    const { refs, make } = prepare(card, sample, float);
    const expected = card.reference(refs, { ...card.attrs, ...sample.attrs } as Attrs);
    const attrs = sample.attrs ?? {};
    const label = `${sample.name} ${float}`;
    const plain = await outputsOf(card, make(false), attrs);
    check(t, card, label, float, plain, expected);
    if (!card.inPlace) check(t, card, `${label} strided`, float, await outputsOf(card, make(true), attrs), expected);
    const again = await outputsOf(card, make(false), attrs);
    t.ok(
      again.every((out, i) => Buffer.compare(out.bytes, (plain[i] as (typeof plain)[0]).bytes) === 0),
      `${label}: the same bytes twice`,
    );
  });
}

for (const card of cards) {
  if (skip || (only.length > 0 && !only.includes(card.name)) || !hasKernel(card)) continue;
  t.test(card.name, { timeout: 1_800_000 }, (t) =>
    onDevice(deviceUnderTest, async () => {
      for (const sample of card.samples) {
        // f64 is for gradient checks on the CPU.
        for (const float of (sample.dtypes ?? (['f32'] as DType[])).filter((dtype) => dtype !== 'f64'))
          await checkSample(t, card, sample, float);
      }
    }),
  );
}
