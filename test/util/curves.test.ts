/** Curves of the report: what is drawn, labelled and left out. */
import t from 'tap';
import { curveFigure, numberText } from '#lib/util/curves.js';

const labels = (figure: string): string[] =>
  [...figure.matchAll(/<text[^>]*>([^<]*)</g)].map((match) => match[1] ?? '');

t.test('axes, labels and the last value', (t) => {
  const figure = curveFigure({
    title: 'loss <of> "a" & b',
    points: Array.from({ length: 101 }, (_, i) => [i, 5 - 0.04 * i]),
  });
  t.match(figure, '<span>loss &lt;of&gt; &quot;a&quot; &amp; b</span><b>1</b>');
  t.same(labels(figure), ['1', '2', '3', '4', '5', '0', '20', '40', '60', '80', '100', 'step']);
  t.match(figure, /<circle class="last" cx="386.0"/, 'a dot on the last point');
  t.end();
});

t.test('gaps, single values, nothing', (t) => {
  const gap = curveFigure({
    title: 'gap',
    points: [
      [1, 1],
      [2, Number.NaN],
      [3, 3],
      [4, 4],
    ],
  });
  t.equal(gap.match(/class="curve"/g)?.length, 2, 'no line across what is not finite');
  t.equal(curveFigure({ title: 'none', points: [[1, Number.NaN]] }), '');
  t.match(curveFigure({ title: 'one', points: [[7, 2]] }), /<b>2</);
  t.match(
    curveFigure({
      title: 'flat',
      points: [
        [1, 0],
        [2, 0],
      ],
    }),
    /<b>0</,
  );
  t.end();
});

t.test('logarithmic where values span much', (t) => {
  const points = Array.from({ length: 9 }, (_, i) => [i, 10 ** (i / 2 - 2)] as const);
  const figure = curveFigure({ title: 'norm', points, logarithmic: true });
  t.same(labels(figure).slice(0, 5), ['0.01', '0.1', '1', '10', '100']);
  t.match(figure, 'norm (logarithmic)');
  t.notMatch(curveFigure({ title: 'norm', points: points.slice(0, 2), logarithmic: true }), 'logarithmic');
  t.end();
});

t.test('long runs are thinned, numbers are short', (t) => {
  const long = curveFigure({ title: 'long', points: Array.from({ length: 20_000 }, (_, i) => [i, Math.sin(i)]) });
  t.ok((long.match(/L/g)?.length ?? 0) < 500);
  t.same([0, 4.11e-6, -1234567, 12345.678, 0.5, 1e6].map(numberText), [
    '0',
    '4.11e-6',
    '-1.23e6',
    '12345.7',
    '0.5',
    '1e6',
  ]);
  t.end();
});
