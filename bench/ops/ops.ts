/** Every bench case of every op card: time, GFLOP/s or GB/s, and the share of the machine's measured peak. */
import {
  type DType,
  dtypeBytes,
  isFloat,
  noGrad,
  numel,
  type OpCard,
  onDevice,
  opCards,
  randomNormal,
  run,
  type SampleInput,
  scope,
  setThreads,
  Tensor,
} from '#lib/engine/index.js';
import { makeInput } from '../../test/helpers/samples.js';
import { print } from '../harness.js';
import { benchCrf } from './crf.js';
import { formulaColumns } from './formulas.js';
import { measure, openPlace, type Place } from './measure.js';
import { benchPacked } from './packed.js';

export interface OpsOptions {
  readonly threads: readonly number[];
  readonly only: readonly string[];
  readonly seconds: number;
  readonly device: string;
}

export async function benchOps(options: OpsOptions): Promise<void> {
  await onDevice(options.device, () => noGrad(() => benchOn(options)));
}

async function benchOn({ device, only, seconds, ...options }: OpsOptions): Promise<void> {
  const place = await openPlace(device, seconds);
  const { f32, bf16, copy } = place.peaks;
  print({ name: 'peaks', device, threads: 1, 'f32 GFLOP/s': f32, 'bf16 GFLOP/s': bf16, 'copy GB/s': copy });
  const wanted = (name: string) => only.length === 0 || only.includes(name);
  // Threads are the CPU's.
  for (const threads of device === 'cpu' ? options.threads : [1]) {
    if (device === 'cpu') setThreads(threads);
    if (wanted('linear_packed')) await benchPacked(threads, place);
    for (const card of opCards().values()) {
      if (!wanted(card.name) || (device !== 'cpu' && card.hostOnly)) continue;
      for (const bench of card.bench ?? []) {
        for (const dtype of bench.dtypes ?? (['f32'] as DType[])) await one(card, bench, dtype, threads, place);
      }
    }
    if (wanted('dense_crf')) await benchCrf(threads, place);
  }
}

/** Normal values come from the device itself, others from the host. */
function tensorOf(input: SampleInput, key: string, dtype: DType): Tensor {
  const type = input.dtype ?? dtype;
  if (isFloat(type) && (input.fill === undefined || input.fill === 'normal'))
    return randomNormal(input.shape, {
      seed: 1,
      offset: [...key].reduce((n, c) => n + c.charCodeAt(0), 0),
      dtype: type,
    });
  const { host, dtype: made } = makeInput(key, input, dtype);
  return Tensor.from(host, input.shape, made);
}

async function one(
  card: OpCard,
  bench: NonNullable<OpCard['bench']>[number],
  dtype: DType,
  threads: number,
  place: Place,
): Promise<void> {
  await scope(async () => {
    const inputs = bench.inputs.map((input, i) => input && tensorOf(input, `${card.name}/${bench.name}/${i}`, dtype));
    const outputs = scope(() =>
      run(card, inputs, bench.attrs).reduce((sum, t) => sum + numel(t.shape) * dtypeBytes(t.dtype), 0),
    );
    const bytes = bench.bytes ?? outputs + inputs.reduce((sum, t) => sum + (t ? t.size * dtypeBytes(t.dtype) : 0), 0);
    const shapes = inputs.map((t) => t?.shape.join('x') ?? '-');
    const extra = formulaColumns(
      card.name,
      inputs.map((t) => t?.shape ?? []),
      { ...card.attrs, ...bench.attrs },
      place.peaks,
      threads,
    );
    await measure(
      { name: card.name, case: bench.name, shapes, dtype, threads, flops: bench.flops, bytes, extra },
      place,
      () => run(card, inputs, bench.attrs),
    );
  });
}
