/** Names of ALBEF's checkpoints (salesforce/ALBEF): vision names as BLIP's, text names as they are. */
import { fusionIgnored, fusionInfix, fusionRules } from '../../nn/match/fusion-load.js';

export const albefRules = fusionRules;
/** Pre-training files keep the text layers one level deeper than the retrieval code. */
export const albefInfix = fusionInfix;
export const albefIgnored = fusionIgnored;
