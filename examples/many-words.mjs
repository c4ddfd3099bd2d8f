// Encode a picture once, then ask for one list of words after another: node examples/many-words.mjs MODEL IMAGE LIST [LIST...]
// A LIST is words with commas: "cat,dog|puppy" ("|" separates words for one thing).
import { open } from 'wordmask';

const [name, image, ...lists] = process.argv.slice(2);
const model = await open(name);
const features = await model.encode(image);
for (const list of lists) {
  const vocabulary = await model.vocabulary(list.split(','));
  const started = performance.now();
  const result = await model.segment(features, vocabulary);
  const [largest] = result.segments.toSorted((a, b) => b.area - a.area);
  console.log(
    `${list}: mostly ${vocabulary.labels[largest.label].name}, ${(performance.now() - started).toFixed(1)} ms`,
  );
}
features.dispose();
await model.dispose();
