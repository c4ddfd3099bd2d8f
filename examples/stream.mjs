// Many pictures, one vocabulary, one COCO file each; a bad picture does not stop the others:
// node examples/stream.mjs MODEL OUT-FOLDER IMAGE [IMAGE...]
import { mkdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { open } from 'wordmask';

const [name, folder, ...images] = process.argv.slice(2);
await mkdir(folder, { recursive: true });
const model = await open(name);
const vocabulary = await model.vocabulary(['sky', 'grass', 'cat', 'dog'], {
  background: { mode: 'threshold', value: 0.2 },
});
for await (const item of model.stream(images, vocabulary, { batch: 'auto' })) {
  if (item.ok)
    console.log(`wrote ${await item.value.save(join(folder, `${basename(item.input)}.json`), { format: 'coco' })}`);
  else console.log(`${item.input}: ${item.error.code} ${item.error.message}`);
}
await model.dispose();
