/** What a process of its own does on the emulated device while faults are asked of it; prints JSON. */
import { add, fill, memory, resolveDevice, scope, sync, Tensor, trimMemory } from '#lib/engine/index.js';

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
