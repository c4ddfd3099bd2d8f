/** Losses of published systems, one file each. */
export { type ContrastiveOptions, contrastive } from './contrastive.js';
export {
  type MgcaLosses,
  type MgcaLossOptions,
  mgca,
  mgcaCounts,
  mgcaFromStats,
  mgcaLossDefaults,
  mgcaLossOptions,
  mgcaStats,
} from './mgca.js';
export { type NounPatchOptions, nounPatch, valuePath } from './value-path.js';
