import fc from 'fast-check';
import t from 'tap';
import { Mask, masksOfLabels, paintMask } from '#lib/image/mask.js';
import { WordmaskError } from '#lib/util/errors.js';

const bitmaps = fc
  .tuple(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 9 }))
  .chain(([width, height]) =>
    fc.tuple(
      fc.constant(width),
      fc.constant(height),
      fc.array(fc.integer({ min: 0, max: 1 }), { minLength: width * height, maxLength: width * height }),
    ),
  );

/** Column-major run lengths, straight from the definition. */
function naiveCounts(bits: number[], width: number, height: number): number[] {
  const counts = [];
  let [value, run] = [0, 0];
  for (let x = 0; x < width; x++) {
    for (let y = 0; y < height; y++) {
      const bit = bits[y * width + x];
      if (bit !== value) {
        counts.push(run);
        run = 0;
        value = bit as number;
      }
      run++;
    }
  }
  return [...counts, run];
}

t.test('masks agree with plain bitmaps', async (t) => {
  fc.assert(
    fc.property(bitmaps, ([width, height, bits]) => {
      const mask = Mask.fromBitmap(bits, width, height);
      const set = bits
        .map((bit, i) => ({ bit, x: i % width, y: Math.floor(i / width) }))
        .filter(({ bit }) => bit === 1);
      const xs = set.map(({ x }) => x);
      const ys = set.map(({ y }) => y);
      const box =
        set.length === 0
          ? [0, 0, 0, 0]
          : [
              Math.min(...xs),
              Math.min(...ys),
              Math.max(...xs) - Math.min(...xs) + 1,
              Math.max(...ys) - Math.min(...ys) + 1,
            ];
      const counts = naiveCounts(bits, width, height);
      return (
        mask.area === set.length &&
        same([...mask.toBitmap()], bits) &&
        same(mask.bbox, box) &&
        same(mask.toRle({ compressed: false }).counts as number[], counts) &&
        Mask.fromRle(mask.toRle()).equals(mask) &&
        Mask.fromRle({ size: [height, width], counts }).equals(mask) &&
        Mask.fromPolygons(mask.toPolygons(0), width, height).equals(mask) &&
        same(
          [...mask.not().toBitmap()],
          bits.map((bit) => 1 - bit),
        )
      );
    }),
    { numRuns: 1500 },
  );
  t.pass('area, box, run lengths, outlines and complement');
});

t.test('set operations', async (t) => {
  const pairs = bitmaps.chain(([width, height, a]) =>
    fc.tuple(
      fc.constant(width),
      fc.constant(height),
      fc.constant(a),
      fc.array(fc.integer({ min: 0, max: 1 }), { minLength: a.length, maxLength: a.length }),
    ),
  );
  fc.assert(
    fc.property(pairs, ([width, height, a, b]) => {
      const [m, n] = [Mask.fromBitmap(a, width, height), Mask.fromBitmap(b, width, height)];
      const both = a.filter((bit, i) => bit === 1 && b[i] === 1).length;
      const any = a.filter((bit, i) => bit === 1 || b[i] === 1).length;
      return (
        same(
          [...m.and(n).toBitmap()],
          a.map((bit, i) => bit & (b[i] as number)),
        ) &&
        same(
          [...m.or(n).toBitmap()],
          a.map((bit, i) => bit | (b[i] as number)),
        ) &&
        same(
          [...m.xor(n).toBitmap()],
          a.map((bit, i) => bit ^ (b[i] as number)),
        ) &&
        m.iou(n) === (any === 0 ? 0 : both / any)
      );
    }),
    { numRuns: 500 },
  );
  t.pass('and, or, xor, iou');
});

t.test('known run lengths', async (t) => {
  // The COCO form of a 3 x 2 mask whose second column is set: zeros 2, ones 2, zeros 2.
  const mask = Mask.fromBitmap([0, 1, 0, 0, 1, 0], 3, 2);
  t.same(mask.toRle(), { size: [2, 3], counts: '222' });
  t.same(Mask.fromBitmap(new Uint8Array(12), 4, 3).toRle(), { size: [3, 4], counts: '<' });
  t.same(JSON.parse(JSON.stringify(mask)), { size: [2, 3], counts: '222' });
});

t.test('outlines', async (t) => {
  const ring = Mask.fromBitmap([1, 1, 1, 1, 0, 1, 1, 1, 1], 3, 3).toPolygons();
  t.equal(ring.length, 1);
  t.same(ring[0]?.outer, [0, 0, 3, 0, 3, 3, 0, 3]);
  t.equal(ring[0]?.holes.length, 1);
  const diagonal = Mask.fromBitmap([1, 0, 0, 1], 2, 2).toPolygons();
  t.equal(diagonal.length, 2, 'diagonal neighbours are two parts');
  const disc = Mask.fromBitmap(
    Array.from({ length: 100 * 100 }, (_, i) => Number(Math.hypot((i % 100) - 49.5, Math.floor(i / 100) - 49.5) < 40)),
    100,
    100,
  );
  const smooth = disc.toPolygons(1.5);
  t.ok((smooth[0]?.outer.length ?? 0) < (disc.toPolygons()[0]?.outer.length ?? 0) / 4, 'tolerance drops corners');
  t.ok(Mask.fromPolygons(smooth, 100, 100).iou(disc) > 0.97);
});

t.test('label maps split and join', async (t) => {
  const labels = Uint8Array.from([0, 0, 1, 255, 1, 1, 0, 255, 2, 2, 2, 2]);
  const masks = await masksOfLabels(labels, 4, 3, 255);
  t.same([...masks.keys()], [0, 1, 2]);
  const again = new Uint8Array(12).fill(255);
  for (const [label, mask] of masks) paintMask(again, mask, label);
  t.same([...again], [...labels]);
});

t.test('malformed run lengths are refused', async (t) => {
  const bad = [
    { size: [2, 3], counts: '22' },
    { size: [2, 3], counts: '2222222' },
    { size: [2, 3], counts: [2, -1, 5] },
    { size: [2, 3], counts: [1.5, 4.5] },
    { size: [2, 3], counts: '\u0000' },
    { size: [2, 3], counts: 'oooooooooooooooo' },
    { size: [1e9, 3], counts: '0' },
    { size: [0, 3], counts: '0' },
    { size: 4, counts: '0' },
    { size: [2, 3], counts: 7 },
  ];
  for (const rle of bad)
    t.throws(() => Mask.fromRle(rle as never), { name: 'WordmaskError', code: 'E_USAGE' }, JSON.stringify(rle));
  fc.assert(
    fc.property(fc.string(), (counts) => {
      try {
        Mask.fromRle({ size: [5, 7], counts });
        return true;
      } catch (error) {
        return error instanceof WordmaskError;
      }
    }),
  );
});

function same(a: ArrayLike<number>, b: ArrayLike<number>): boolean {
  return a.length === b.length && Array.from(a).every((value, i) => value === b[i]);
}
