export { add } from './elementwise_binary.js';
