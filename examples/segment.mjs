// Masks for one picture: node examples/segment.mjs MODEL IMAGE OUT.png WORD [WORD...]
// MODEL is a folder (./my-clip), SYSTEM:FOLDER, or a hub id that is in the cache.
import { open } from 'wordmask';

const [name, image, out, ...words] = process.argv.slice(2);
const model = await open(name);
const result = await model.segment(image, words, { outputs: ['labels', 'score'] });
await result.save(out, { format: 'voc' });
for (const { label, area, score } of result.segments) {
  const share = ((100 * area) / (result.width * result.height)).toFixed(1);
  console.log(`${result.vocab.labels[label].name}: ${share}% of the picture, mean score ${score.toFixed(3)}`);
}
await model.dispose();
