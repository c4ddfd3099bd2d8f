/** Options of dense systems: layers, other spellings, refusals; and where windows lie under them. */
import t from 'tap';
import { planWindows } from '#lib/post/dense-encode.js';
import { clearclip } from '#lib/systems/clearclip/index.js';
import { clip } from '#lib/systems/clip/index.js';
import { maskclip } from '#lib/systems/maskclip/index.js';
import { naclip } from '#lib/systems/naclip/index.js';
import { sclip } from '#lib/systems/sclip/index.js';
import { classList } from '#lib/text/index.js';

t.test('layers', (t) => {
  const { check } = naclip;
  t.same(
    check({ pamr: { steps: 3 } }, undefined, { pamr: { dilations: [2] } }).pamr,
    { steps: 3, dilations: [2] },
    'parts of pamr come from the layer that names them',
  );
  t.same(check({ pamr: { steps: 3, dilations: [4] } }, { pamrSteps: 5 }).pamr, { steps: 5, dilations: [4] });
  t.same(check({ pamrDilations: [1, 2] }).pamr, { steps: 10, dilations: [1, 2] });
  t.match(check({ arch: 'vanilla' }), { residual: true, ffn: true });
  t.match(check({ arch: 'vanilla', ffn: false }), { residual: true, ffn: false });
  t.equal(check({ attention: 'csa', arch: 'vanilla' }).attention, 'qq+kk');
  t.end();
});

t.test('refusals name option and value', (t) => {
  const wrong = (given: Record<string, unknown>, message: RegExp) =>
    t.throws(() => naclip.check(given), { code: 'E_OPTION', message });
  wrong({ sigma: -1 }, /sigma.*-1/);
  wrong({ attention: 'csa' }, /csa.*vanilla/);
  wrong({ pamr: null }, /pamr.*null/);
  wrong({ pamr: { step: 3 } }, /pamr/);
  wrong({ arch: 'full' }, /'reduced' or 'vanilla', got "full"/);
  wrong({ attnetion: 'qk' }, /did you mean 'attention'/);
  wrong({ templates: [] }, /templates/);
  wrong({ templates: ['a photo'] }, /templates.*\{\}/);
  wrong({ templates: new Array(129).fill('{}') }, /templates/);
  t.end();
});

t.test('whole pictures of SCLIP and ClearCLIP are not padded', (t) => {
  for (const system of [sclip, clearclip]) {
    const whole = planWindows(500, 333, 16, system.check({ crop: 0, shortSide: 300 }));
    t.same(
      [whole.pad, whole.grid],
      [
        [0, 0, 0, 0],
        [18, 28],
      ],
      system.info.name,
    );
  }
  const windows = planWindows(500, 333, 16, clearclip.check({ crop: 100, stride: 100 }));
  t.same(windows.pad, [6, 6, 6, 6], 'windows of ClearCLIP are, around their centre');
  t.same([windows.stretched, windows.grid], [{ height: 112, width: 112, top: 6, left: 6 }, [7, 7]]);
  t.end();
});

t.test('presets are usable: options pass the check, class and query lists exist and fit each other', (t) => {
  for (const system of [clip, maskclip, sclip, clearclip, naclip]) {
    for (const [name, { options, classes, queries, source }] of Object.entries(system.presets)) {
      const what = `${system.info.name} ${name}`;
      t.ok(system.check(options) && source.length > 0, what);
      if (queries) t.equal(classList(queries).length, classList(classes).length, `${what}: ${queries}`);
      else t.ok(classList(classes).length > 1, `${what}: ${classes}`);
    }
  }
  t.end();
});
