/** Every bench case of every op card: time, GFLOP/s or GB/s, and the share of the machine's measured peak. */
import {
  type DType,
  dtypeBytes,
  numel,
  type OpCard,
  opCards,
  run,
  scope,
  setThreads,
  Tensor,
} from '#lib/engine/index.js';
import { makeInput } from '../../test/helpers/samples.js';
import { measurePeaks, type Peaks, print } from '../harness.js';
import { benchCrf } from './crf.js';
import { formulaColumns } from './formulas.js';
import { measure } from './measure.js';
import { benchPacked } from './packed.js';

export interface OpsOptions {
  readonly threads: readonly number[];
  readonly only: readonly string[];
  readonly seconds: number;
}

export async function benchOps(options: OpsOptions): Promise<void> {
  const peaks = measurePeaks();
  print({ name: 'peaks', threads: 1, 'f32 GFLOP/s': peaks.f32, 'bf16 GFLOP/s': peaks.bf16, 'copy GB/s': peaks.copy });
  const wanted = (name: string) => options.only.length === 0 || options.only.includes(name);
  for (const threads of options.threads) {
    setThreads(threads);
    if (wanted('linear_packed')) await benchPacked(threads, peaks, options.seconds);
    for (const card of opCards().values()) {
      if (!wanted(card.name)) continue;
      for (const bench of card.bench ?? []) {
        for (const dtype of bench.dtypes ?? (['f32'] as DType[]))
          await one(card, bench, dtype, threads, peaks, options.seconds);
      }
    }
    if (wanted('dense_crf')) await benchCrf(threads, peaks, options.seconds);
  }
}

async function one(
  card: OpCard,
  bench: NonNullable<OpCard['bench']>[number],
  dtype: DType,
  threads: number,
  peaks: Peaks,
  seconds: number,
): Promise<void> {
  await scope(async () => {
    const inputs = bench.inputs.map((input, i) => {
      if (!input) return undefined;
      const { host, dtype: type } = makeInput(`${card.name}/${bench.name}/${i}`, input, dtype);
      return Tensor.from(host, input.shape, type);
    });
    const outputs = scope(() =>
      run(card, inputs, bench.attrs).reduce((sum, t) => sum + numel(t.shape) * dtypeBytes(t.dtype), 0),
    );
    const bytes = bench.bytes ?? outputs + inputs.reduce((sum, t) => sum + (t ? t.size * dtypeBytes(t.dtype) : 0), 0);
    const shapes = inputs.map((t) => t?.shape.join('x') ?? '-');
    const extra = formulaColumns(
      card.name,
      inputs.map((t) => t?.shape ?? []),
      { ...card.attrs, ...bench.attrs },
      peaks,
      threads,
    );
    await measure(
      { name: card.name, case: bench.name, shapes, dtype, threads, flops: bench.flops, bytes, extra },
      peaks,
      seconds,
      () => run(card, inputs, bench.attrs),
    );
  });
}
