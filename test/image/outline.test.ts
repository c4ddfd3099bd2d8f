/** Outlines against pixel sets that OpenCV 5.0.0 drew (cv2.ellipse, cv2.rectangle, cv2.drawContours; line type 8, one pixel). */
import t from 'tap';
import { drawEllipse, drawRectangle, drawRim, fillHoles } from '#lib/image/outline.js';

const red = [255, 0, 0] as const;

function picture(
  width: number,
  height: number,
  draw: (canvas: { data: Uint8Array; width: number; height: number }) => void,
) {
  const canvas = { data: new Uint8Array(3 * width * height), width, height };
  draw(canvas);
  return Array.from({ length: height }, (_, y) =>
    Array.from({ length: width }, (_, x) => (canvas.data[3 * (y * width + x)] ? '#' : '.')).join(''),
  );
}

t.test('ellipses', (t) => {
  t.same(
    picture(9, 9, (canvas) => drawEllipse(canvas, [4, 4], [3, 3], red)),
    [
      '.........',
      '...####..',
      '..#...#..',
      '.#.....#.',
      '.#.....#.',
      '.#.....#.',
      '.##....#.',
      '...####..',
      '.........',
    ],
  );
  t.same(
    picture(4, 13, (canvas) => drawEllipse(canvas, [1, 6], [1, 5], red)),
    ['....', '.#..', '.##.', '#.#.', '#.#.', '#.#.', '#.#.', '#.#.', '#.#.', '#.#.', '.##.', '.#..', '....'],
  );
  t.same(
    picture(7, 4, (canvas) => drawEllipse(canvas, [1, 1], [4, 0], red)),
    ['.......', '######.', '.......', '.......'],
    'without height a line, cut at the border',
  );
  t.same(
    picture(3, 3, (canvas) => drawEllipse(canvas, [1, 1], [0, 0], red)),
    ['...', '.#.', '...'],
  );
  t.end();
});

t.test('rectangles and rims', (t) => {
  t.same(
    picture(6, 5, (canvas) => drawRectangle(canvas, [1, 1], [9, 3], red)),
    ['......', '.#####', '.#....', '.#####', '......'],
  );
  const mask = Uint8Array.from('000000 011110 010110 011110 000000'.replaceAll(' ', ''), Number);
  const filled = fillHoles(mask, 6, 5);
  t.equal(filled[2 * 6 + 2], 1, 'the hole');
  t.equal(filled[0], 0);
  t.same(
    picture(6, 5, (canvas) => drawRim(canvas, filled, red)),
    ['......', '.####.', '.#..#.', '.####.', '......'],
  );
  t.same(
    picture(2, 2, (canvas) => drawRim(canvas, Uint8Array.of(1, 1, 1, 1), red)),
    ['##', '##'],
    'the border of the picture is a rim',
  );
  t.end();
});
