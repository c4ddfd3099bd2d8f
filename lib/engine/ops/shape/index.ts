export { classTokenEmbed } from './class_token_embed.js';
export { concat } from './concat.js';
export { assign, copy } from './copy.js';
export { fill, iota } from './fill.js';
export { gather, scatterAdd } from './gather.js';
export { pad } from './pad.js';
export { type RandomOptions, randomBlocks, randomNormal, randomUniform } from './random.js';
export { sliceBwd } from './slice_bwd.js';
export { takeAlong, takeAlongBwd } from './take_along.js';
