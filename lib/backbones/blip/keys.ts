/** Names of the original BLIP checkpoints (salesforce/BLIP, LAVIS) -> Hugging Face's, which pass unchanged. */
import { fusionIgnored, fusionInfix, fusionRules } from '../../nn/match/fusion-load.js';

export const blipRules = fusionRules;
export const blipInfix = fusionInfix;

/** Beside what all checkpoints of this kind carry: the captioning decoder, and the scale of Hugging Face's contrastive side. */
export const blipIgnored: readonly string[] = [...fusionIgnored, 'logit_scale', 'text_decoder.**'];
