// A frame that another add-on owns, refined where it lies: node main.mjs [consumer.node]
import { createRequire } from 'node:module';
import { capi, denseCrf, Tensor } from 'wordmask/native';

const consumer = createRequire(import.meta.url)(process.argv[2] ?? './build/Release/consumer.node');
consumer.connect(capi);
console.log(`brightness ${consumer.brightness().toFixed(1)}`);
console.log(`outline of ${consumer.outline()} pixels`);

const frame = Tensor.fromDLPack(consumer.frame());
const [height, width] = frame.shape;
// A rough guess of two classes, shifted against the square in the picture; the colours pull it back.
const guess = new Float32Array(2 * height * width);
for (let y = 0; y < height; y++) {
  for (let x = 0; x < width; x++) {
    const square = y >= 8 && y < 20 && x >= 10 && x < 26;
    guess[y * width + x] = square ? 1.2 : 0.4;
    guess[(height + y) * width + x] = square ? 0.4 : 1.2;
  }
}
const unary = Tensor.from(guess, [2, height, width]);
const terms = { bilateral: { sxy: 8, srgb: 20, compat: 4 }, iterations: 5 };
const marginals = await denseCrf(frame, unary, terms);
const [ground, square] = consumer.take(await marginals.toDLPack());
console.log(`square ${square} of ${ground + square} pixels`);

for (const tensor of [frame, unary, marginals]) tensor.dispose();
// Releases are queued behind the work that reads the memory.
while (consumer.framesLent() > 0) await new Promise((resolve) => setTimeout(resolve, 5));
console.log('frame returned');
