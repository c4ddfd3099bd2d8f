/** Rules on areas: SCLIP's area threshold, and dropping small connected pieces. */
import { connectedComponents, filterSmall, scope, segmentStats, Tensor } from '../engine/index.js';
import type { Planes, ReadOutSettings } from '../post/read-out.js';
import { inSlices } from '../util/slices.js';

/**
 * SCLIP's rule (configs/cfg_voc21.py, `area_thd`): of the winners, a class that is not background and whose area is not above
 * `share` of all pixels of such classes gets probability 0; thresholds come after. There, class 0 is background.
 */
export async function applyAreaRule(
  run: (excluded?: ReadonlySet<number>, changes?: Partial<ReadOutSettings>) => Promise<Planes>,
  share: number,
  classes: number,
  background: ReadonlySet<number>,
): Promise<Planes> {
  const { labels } = await run(undefined, { threshold: 0, margin: 0 });
  const areas = new Float64Array(classes);
  await inSlices(labels.length, 1 << 20, (begin, end) => {
    for (let i = begin; i < end; i++) {
      const label = labels[i] as number;
      if (label >= 0) areas[label] = (areas[label] as number) + 1;
    }
  });
  const foreground = areas.reduce((total, area, index) => (background.has(index) ? total : total + area), 0);
  const excluded = new Set(
    [...areas.keys()].filter((index) => !background.has(index) && (areas[index] as number) <= share * foreground),
  );
  return run(excluded);
}

/** Connected pieces (8 neighbours) of fewer than `least` pixels become nothing (-1). Nobody may change `labels` meanwhile. */
export function dropSmall(labels: Int32Array, width: number, height: number, least: number): Promise<Int32Array> {
  return scope(async () => {
    const map = Tensor.lend(labels, [height, width]);
    const { components, count } = connectedComponents(map, { connectivity: 8, nothing: -1 });
    const { area } = segmentStats(components, await count.item());
    return (await filterSmall(map, components, area, { minArea: least, replacement: -1 }).data()) as Int32Array;
  });
}
