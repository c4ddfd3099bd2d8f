/** Every case, the ones that matter most first: a run that its budget ends has measured those. */
import { attentionCases } from './attention.js';
import type { Bench, GpuCase } from './case.js';
import { encodeCases } from './encode.js';
import { gemmCases, peakCases } from './gemm.js';
import { imageCases } from './images.js';
import { copyCase, rowsCases } from './rows.js';
import { trainingCases } from './training.js';

/** Their ids; every run begins with them. */
export const peakIds = { product: 'peak: product', copy: 'peak: copy' } as const;

export function allCases(bench: Bench): GpuCase[] {
  const cases = [
    ...peakCases(bench),
    copyCase(bench),
    ...attentionCases(bench),
    ...gemmCases(bench),
    ...encodeCases(bench),
    ...imageCases(bench),
    ...rowsCases(bench),
    ...trainingCases(bench),
  ];
  // A smoke test has nothing to judge.
  return bench.tiny ? cases.map((c) => ({ ...c, target: undefined })) : cases;
}
