export { copy } from './copy.js';
export { fill } from './fill.js';
export { sliceBwd } from './slice_bwd.js';
