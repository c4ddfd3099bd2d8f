export { crossEntropy } from './cross_entropy.js';
