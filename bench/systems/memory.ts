/**
 * Resident memory of a large call: `node build/ts/bench/systems/memory.js --model DIR [--width 6000 --height 4000 --classes ade847
 * --refine none,pamr,crf --steps 10]` prints one JSON line a refiner. Each runs in a process of its own; `residentMiB` is the
 * highest resident size (Linux: VmHWM, reset once the model is open) besides the weights' bytes.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { memory, resetPeakMemory, trimMemory } from '#lib/engine/index.js';
import { open } from '#lib/pipelines/open.js';
import type { SegmentOptions } from '#lib/pipelines/segment-options.js';
import { Vocabulary } from '#lib/pipelines/vocabulary.js';
import { classList } from '#lib/text/index.js';

const { values } = parseArgs({
  options: {
    model: { type: 'string', default: '' },
    width: { type: 'string', default: '6000' },
    height: { type: 'string', default: '4000' },
    classes: { type: 'string', default: 'ade847' },
    refine: { type: 'string', default: 'none,pamr,crf' },
    steps: { type: 'string', default: '10' },
    labels: { type: 'string', default: '0' },
    only: { type: 'boolean', default: false },
  },
});

const mib = (bytes: number) => Math.round((bytes / 2 ** 20) * 10) / 10;

function residentPeak(): number {
  const line = /VmHWM:\s+(\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8'));
  return Number(line?.[1] ?? 0) * 1024;
}

async function measure(refine: string): Promise<Record<string, unknown>> {
  const [width, height] = [Number(values.width), Number(values.height)];
  const model = await open(`naclip:${values.model}`);
  const labels = classList(values.classes);
  const count = Number(values.labels) || labels.length;
  const vocab = await model.vocabulary(Vocabulary.from(labels.slice(0, count), { templates: 'none' }));
  const options: SegmentOptions = {
    refine: refine === 'pamr' ? { name: 'pamr', steps: Number(values.steps) } : (refine as 'none' | 'crf'),
  };
  const plan = model.plan(width, height, vocab, options);
  const record = {
    name: 'memory',
    shape: `${width}x${height}, ${count} labels`,
    refine,
    plannedMiB: mib(plan.deviceBytes + plan.hostBytes),
    fits: plan.fits,
  };
  const data = new Uint8Array(width * height * 3);
  for (let i = 0; i < data.length; i++) data[i] = (i * 2654435761) >>> 24;
  trimMemory();
  resetPeakMemory();
  writeFileSync('/proc/self/clear_refs', '5');
  const before = residentPeak();
  const weights = model.info.sizes.parametersBytes;
  const started = performance.now();
  try {
    const result = await model.segment({ data, width, height, channels: 3 }, vocab, options);
    const peak = residentPeak();
    return {
      ...record,
      weightsMiB: mib(weights),
      beforeMiB: mib(before),
      peakMiB: mib(peak),
      besidesWeightsMiB: mib(peak - Math.min(weights, before)),
      devicePeakMiB: mib(memory().cpu?.peakBytes ?? 0),
      seconds: (performance.now() - started) / 1000,
      segments: result.segments.length,
    };
  } catch (error) {
    return { ...record, error: (error as { code?: string }).code ?? String(error), peakMiB: mib(residentPeak()) };
  }
}

if (values.only) console.log(JSON.stringify(await measure(values.refine)));
else {
  for (const refine of values.refine.split(',')) {
    const args = process.argv.slice(2).filter((arg, i, all) => arg !== '--refine' && all[i - 1] !== '--refine');
    spawnSync(process.execPath, [fileURLToPath(import.meta.url), ...args, '--refine', refine, '--only'], {
      stdio: 'inherit',
    });
  }
}
