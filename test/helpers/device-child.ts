/** What a process of its own does on the emulated device while faults are asked of it; prints JSON. */
import { add, fill, memory, resolveDevice, scope, sync, Tensor, trimMemory } from '#lib/engine/index.js';
import { open } from '#lib/pipelines/open.js';
import { Vocabulary } from '#lib/pipelines/vocabulary.js';
import { waves } from './pictures.js';

const code = (work: Promise<unknown>) =>
  work.then(
    () => 'ok',
    (error) => String(error.code),
  );
const sums = async (device: string) => [...(await scope(() => add(Tensor.from([1, 2]).to(device), 1).data()))];

const scenes: Record<string, () => Promise<unknown>> = {
  memory: async () => {
    const device = resolveDevice('simt');
    const large = fill([1 << 19], 1, 'f32', device);
    const [first, second] = [await large.data().catch((error) => error), await code(add(large, 1).data())];
    large.dispose();
    await sync();
    return {
      codes: [first.code, second],
      names: /fill: .*2097152 bytes/.test(first.message),
      after: await sums(device),
    };
  },
  once: async () => ({ values: await sums(resolveDevice('simt')) }),
  lost: async () => {
    const device = resolveDevice('simt');
    const x = Tensor.from([1, 2]).to(device);
    const codes: string[] = [];
    // Self-test and first addition pass; the third launch meets the fault.
    await x.data();
    await add(x, 1).data();
    codes.push(await code(add(x, 1).data()), await code(x.data()), await code(Tensor.from([3]).to(device).data()));
    trimMemory();
    await code(sync());
    return { codes, held: memory()[device]?.liveBytes, cpu: [...(await add(Tensor.from([1, 2]), 1).data())] };
  },
  fails: async () => {
    const device = resolveDevice('simt');
    const x = Tensor.from([1, 2]).to(device);
    await x.data();
    return { codes: [await code(x.data())], after: await sums(device) };
  },
  // Room for the model and a small picture: a large one is refused, and the small one still works.
  busy: async () => {
    const model = await open('tiny', { device: 'simt', dtype: 'fp32', onLog: () => undefined });
    const words = Vocabulary.from(['disc', 'box'], { templates: 'none' });
    const calls = [
      [160, 128],
      [40, 64],
    ] as const;
    const codes: string[] = [];
    for (const [side, size] of calls) codes.push(await code(model.segment(waves(side, side), words, { size })));
    await model.dispose();
    return { codes, after: await sums(resolveDevice('simt')) };
  },
  two: async () => {
    const [first, second] = [Tensor.from([1, 2]).to('simt:0'), Tensor.from([3, 4]).to('simt:1')];
    const codes: string[] = [];
    for (const work of [() => add(first, second), () => Tensor.from([1]).to('simt:2')]) {
      try {
        codes.push(await code(work().data()));
      } catch (error) {
        codes.push((error as { code: string }).code);
      }
    }
    return { codes, after: [...(await add(first, second.to('simt:0')).data()), ...(await add(second, 1).data())] };
  },
  names: async () => {
    try {
      return { name: resolveDevice('simt') };
    } catch (error) {
      const { code: found, message } = error as { code: string; message: string };
      return process.env.WORDMASK_SIMT === '1' ? { code: found, message } : { code: found };
    }
  },
};

process.stdout.write(JSON.stringify(await scenes[process.argv[2] as string]?.()));
