/** Augmentation: each operation against Pillow's bytes, and that it is a function of its stream. */
import { createHash } from 'node:crypto';
import t from 'tap';
import { type AugmentOptions, augment } from '#lib/image/augment.js';
import * as ops from '#lib/image/point-ops.js';
import { Random } from '#lib/util/random.js';

const side = 12;
const picture = (): ops.Square => ({
  data: Uint8Array.from(
    { length: 3 * side * side },
    (_, i) => ((i * 37 + ((i * i) % 91)) % 181) + Math.floor(i / 36) * 5,
  ),
  side,
});
const hash = ({ data }: ops.Square): string => createHash('sha256').update(data).digest('hex').slice(0, 16);

/** SHA-256, first half of it, of what Pillow 11 makes of the picture. */
const pillow: Record<string, string> = {
  invert: '7e533b7bebadf39f',
  posterise: '618bdd01615fd02e',
  solarise: '9864c9fbd84fe3ee',
  solariseAdd: 'ab0bd298a335d2e5',
  autoContrast: '20bbc653ffd44db3',
  equalise: '9c970c2b7e42652d',
  brightness: '51ab201749c97920',
  contrast: '424eeb2c61b51b2f',
  saturation: 'acd94a4858594cb1',
  sharpness: '7c32ea3bf3b7d9c3',
  rotation: '1893456c2f878bcf',
  shear: '0c504e84b85f6b44',
  translation: '919bb9df63efa10b',
};
const fill = [124, 116, 104];
const cases: Record<string, (image: ops.Square) => void> = {
  invert: ops.invert,
  posterise: (image) => ops.posterise(image, 3),
  solarise: (image) => ops.solarise(image, 90),
  solariseAdd: (image) => ops.solariseAdd(image, 60),
  autoContrast: ops.autoContrast,
  equalise: ops.equalise,
  brightness: (image) => ops.brightness(image, 1.63),
  contrast: (image) => ops.contrast(image, 0.19),
  saturation: (image) => ops.saturation(image, 1.83),
  sharpness: (image) => ops.sharpness(image, 1.9),
  rotation: (image) => ops.affine(image, ops.rotation(side, 17), fill),
  shear: (image) => ops.affine(image, [1, 0.27, 0, 0, 1, 0], fill),
  translation: (image) => ops.affine(image, [1, 0, 0, 0, 1, 2.4], fill),
};

t.test("operations give Pillow's bytes", (t) => {
  for (const [name, change] of Object.entries(cases)) {
    const image = picture();
    change(image);
    t.equal(hash(image), pillow[name], name);
  }
  const flat = { data: new Uint8Array(27).fill(90), side: 3 };
  for (const change of [ops.autoContrast, ops.equalise]) {
    change(flat);
    t.ok(
      flat.data.every((value) => value === 90),
      'one value stays as it is',
    );
  }
  t.end();
});

const off: AugmentOptions = { operations: 0, magnitude: 9, deviation: 0.5, jitter: 0, erase: 0 };
const changed = (options: Partial<AugmentOptions>, seed: number): ops.Square => {
  const image = picture();
  augment(image, { ...off, ...options }, new Random(seed));
  return image;
};

t.test('a function of options and stream', (t) => {
  t.same(changed({}, 1), picture(), 'nothing is on');
  for (const options of [{ operations: 2 }, { jitter: 0.4 }, { erase: 1 }]) {
    t.same(changed(options, 7), changed(options, 7));
    const seen = new Set(Array.from({ length: 100 }, (_, seed) => hash(changed(options, seed))));
    t.ok(seen.size > 60, `${JSON.stringify(options)}: ${seen.size} of 100 differ`);
  }
  t.end();
});

t.test('what is erased', (t) => {
  const shares = Array.from({ length: 300 }, (_, seed) => {
    const { data } = changed({ erase: 1 }, seed);
    const before = picture().data;
    return data.filter((value, i) => value !== before[i]).length / data.length;
  });
  t.ok(Math.max(...shares) <= 0.4, `about a third at most (sides are whole pixels), got ${Math.max(...shares)}`);
  const mean = shares.reduce((sum, share) => sum + share, 0) / shares.length;
  t.ok(mean > 0.1 && mean < 0.25, `mean share ${mean}`);
  const often = Array.from({ length: 400 }, (_, seed) => hash(changed({ erase: 0.25 }, seed)) !== hash(picture()));
  t.ok(Math.abs(often.filter(Boolean).length / 400 - 0.25) < 0.07, 'as often as asked for');
  t.end();
});
