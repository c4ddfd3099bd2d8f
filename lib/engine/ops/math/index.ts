export { add } from './add.js';
export { sumTo } from './sum_to.js';
