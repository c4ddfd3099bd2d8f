/** Host algorithms against hand-made cases and round trips; hostile sizes are refused. */
import fc from 'fast-check';
import t from 'tap';
import {
  boundaryCounts,
  connectedComponents,
  contours,
  countConfusion,
  distanceTransform,
  filterSmall,
  maskErode,
  polygonMask,
  type Ring,
  rleDecode,
  rleEncode,
  rleEncodeLabels,
  rleExtentSync,
  rleFromString,
  rleIou,
  rleMergeSync,
  rleToString,
  segmentStats,
  Tensor,
} from '#lib/engine/index.js';

const masks = fc
  .tuple(fc.integer({ min: 1, max: 21 }), fc.integer({ min: 1, max: 80 }), fc.integer())
  .map(([height, width, seed]) => {
    let state = seed | 1;
    const size = Uint8Array.from({ length: height * width }, () =>
      (state = (Math.imul(state, 1664525) + 1013904223) | 0) >>> 28 > 7 ? 1 : 0,
    );
    return { height, width, mask: size };
  });

t.test('run lengths: COCO example, round trips', async (t) => {
  // Columns 0 0 1 | 1 1 0 | 0 1 1
  const mask = Uint8Array.of(0, 1, 0, 0, 1, 1, 1, 0, 1);
  const counts = await rleEncode(mask, { height: 3, width: 3 });
  t.same([...counts], [2, 3, 2, 2]);
  t.equal(await rleToString(counts), '232O', 'the fourth count is the difference to the second');
  t.same(rleExtentSync([counts], 3), [{ area: 5, bbox: [0, 0, 3, 3] }]);
  await fc.assert(
    fc.asyncProperty(masks, async ({ mask, height, width }) => {
      const runs = await rleEncode(mask, { height, width });
      const back = await rleDecode(await rleFromString(await rleToString(runs)), { height, width });
      return Buffer.compare(back, mask) === 0;
    }),
    { numRuns: 60 },
  );
});

t.test('run lengths: labels in one pass, set operations, overlap', async (t) => {
  const map = Int32Array.of(5, 5, 70000, 5, -1, 70000);
  const size = { height: 2, width: 3 };
  t.same(
    (await rleEncodeLabels(map, size, [70000, 5, -1, 9])).map((c) => [...c]),
    [[4, 2], [0, 3, 3], [3, 1, 2], [6]],
  );
  const [a, b] = [Uint32Array.of(0, 4, 2), Uint32Array.of(2, 4)];
  t.same([...rleMergeSync('and', [a, b])], [2, 2, 2]);
  t.same([...rleMergeSync('or', [a, b])], [0, 6]);
  t.same([...rleMergeSync('xor', [a, b])], [0, 2, 2, 2]);
  t.same([...rleMergeSync('not', [a])], [4, 2]);
  t.same([...(await rleIou([a], [b, a]))], [2 / 6, 1]);
  t.same([...(await rleIou([a], [b], Uint8Array.of(1)))], [0.5], 'against a crowd: the share inside');
  t.throws(() => rleMergeSync('or', [a, Uint32Array.of(5)]), { code: 'E_OPTION' });
});

t.test('run lengths: damaged text and wrong sums', async (t) => {
  for (const text of ['~~~', 'PPPPPPPPPPPPPPPP0', 'P', 'O', '\u0001'])
    await t.rejects(rleFromString(text), { code: 'E_USAGE' }, JSON.stringify(text));
  await t.rejects(rleDecode(Uint32Array.of(5, 2), { height: 2, width: 3 }), { code: 'E_USAGE', message: /7 pixels/ });
  await t.rejects(rleDecode(Uint32Array.of(5), { height: 2 ** 31, width: 2 ** 31 }), {
    code: 'E_OPTION',
    message: /limit/,
  });
});

t.test('contours are exact, simple and oriented', async (t) => {
  const area = ({ points }: Ring): number => {
    let sum = 0;
    for (let i = 0; i < points.length; i += 2) {
      const j = (i + 2) % points.length;
      sum += (points[i] as number) * (points[j + 1] as number) - (points[j] as number) * (points[i + 1] as number);
    }
    return sum / 2;
  };
  await fc.assert(
    fc.asyncProperty(masks, async ({ mask, height, width }) => {
      const rings = await contours(mask, { height, width });
      const back = await polygonMask(
        rings.map((ring) => ring.points),
        { height, width },
      );
      const simple = rings.every(
        ({ points }) =>
          new Set(Array.from({ length: points.length / 2 }, (_, i) => `${points[2 * i]},${points[2 * i + 1]}`)).size ===
          points.length / 2,
      );
      const oriented = rings.every((ring) =>
        ring.parent < 0 ? area(ring) > 0 : area(ring) < 0 && (rings[ring.parent] as Ring).parent < 0,
      );
      const total = rings.reduce((sum, ring) => sum + area(ring), 0);
      return Buffer.compare(back, mask) === 0 && simple && oriented && total === mask.reduce((a, b) => a + b, 0);
    }),
    { numRuns: 80 },
  );
  const ring = await contours(Uint8Array.of(1, 1, 1, 1, 0, 1, 1, 1, 1), { height: 3, width: 3 });
  t.same(
    ring.map((r) => [[...r.points], r.parent]),
    [
      [[3, 0, 3, 3, 0, 3, 0, 0], -1],
      [[2, 2, 2, 1, 1, 1, 1, 2], 0],
    ],
  );
  await t.rejects(polygonMask([[0, 0, Number.NaN, 1, 2, 2]], { height: 2, width: 2 }), { code: 'E_USAGE' });
});

t.test('confusion: the example of the protocol', async (t) => {
  const counts = await countConfusion(Uint8Array.of(0, 1, 0, 1), Uint8Array.of(0, 1, 1, 255), {
    numClasses: 2,
    ignore: 255,
  });
  t.same([...counts], [1, 0, 0, 1, 1, 0]);
  const outside = await countConfusion(Int32Array.of(-1, 7, 1, 0), Uint16Array.of(0, 1, 1, 9), { numClasses: 2 });
  t.same([...outside], [0, 0, 1, 0, 1, 1], 'predictions outside count against the label, labels outside not at all');
  await t.rejects(countConfusion(new Uint8Array(4), new Uint8Array(5), { numClasses: 2 }), { code: 'E_OPTION' });
  await t.rejects(countConfusion(new Uint8Array(4), new Uint8Array(4), { numClasses: 4097 }), {
    code: 'E_OPTION',
    message: /4096/,
  });
});

t.test('boundary counts, erosion, distances', async (t) => {
  const square = Uint8Array.from({ length: 49 }, (_, i) => (i % 7 > 0 && i % 7 < 6 && i > 6 && i < 42 ? 1 : 0));
  const size = { height: 7, width: 7 };
  t.equal(
    (await maskErode(square, size, 1)).reduce((a, b) => a + b, 0),
    9,
  );
  t.equal(
    (await maskErode(square, size, 2)).reduce((a, b) => a + b, 0),
    1,
  );
  const shifted = Uint8Array.from(square, (_, i) => (i % 7 === 0 ? 0 : (square[i - 1] as number)));
  const counts = await boundaryCounts(shifted, square, { ...size, numClasses: 2, band: 1, radius: 1 });
  t.same([...counts.subarray(6)], [8, 24, 13, 13, 16, 15], 'the picture border is no edge, but an end of the band');
  const distance = await distanceTransform(Uint8Array.of(1, 0, 0, 0, 0, 0), { height: 2, width: 3 });
  t.same([...distance], [0, 1, 4, 1, 2, 5]);
  t.ok((await distanceTransform(new Uint8Array(4), { height: 2, width: 2 })).every((d) => d === Infinity));
});

t.test('regions of a map', async (t) => {
  // 1 1 0 / 2 0 1 / 1 1 1
  const labels = Tensor.from(Uint8Array.of(1, 1, 0, 2, 0, 1, 1, 1, 1), [3, 3]);
  const { components, count } = connectedComponents(labels);
  const n = await count.item();
  t.equal(n, 5);
  t.same([...(await components.data())], [1, 1, 2, 3, 4, 5, 5, 5, 5]);
  const stats = segmentStats(components, n);
  t.same([...(await stats.area.data())], [2, 1, 1, 1, 4]);
  t.same([...(await stats.bbox.data())].slice(16), [0, 1, 3, 2]);
  const kept = filterSmall(labels, components, stats.area, { minArea: 2, replacement: 255 });
  t.same([...(await kept.data())], [1, 1, 255, 255, 255, 1, 1, 1, 1]);
  t.equal(await connectedComponents(labels, { connectivity: 8 }).count.item(), 3);
});
