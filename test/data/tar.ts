/** Writes tar files for tests. */

export interface MemberOptions {
  readonly type?: string;
  /** The name in a pax record, or in a GNU long-name member. */
  readonly pax?: boolean;
  readonly gnu?: boolean;
}

export function tarFile(members: readonly (readonly [string, Uint8Array | string, MemberOptions?])[]): Buffer {
  const parts = members.flatMap(([name, content, { type = '0', pax, gnu } = {}]) => {
    const bytes = Buffer.from(content);
    if (pax) return [member('pax', paxRecord(name), 'x'), member('short', bytes, type)];
    if (gnu) return [member('././@LongLink', Buffer.from(`${name}\0`), 'L'), member(name.slice(0, 99), bytes, type)];
    return [member(name, bytes, type)];
  });
  return Buffer.concat([...parts, Buffer.alloc(1024)]);
}

function paxRecord(name: string): Buffer {
  const body = ` path=${name}\n`;
  let length = body.length + 1;
  while (String(length).length + body.length !== length) length = String(length).length + body.length;
  return Buffer.from(`${length}${body}`);
}

function member(name: string, content: Buffer, type: string): Buffer {
  const header = Buffer.alloc(512);
  header.write(name, 0, 100);
  header.write('0000644\0', 100);
  header.write(`${content.length.toString(8).padStart(11, '0')}\0`, 124);
  header.write('        ', 148);
  header.write(type, 156);
  header.write('ustar\x0000', 257, 'latin1');
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return Buffer.concat([header, content, Buffer.alloc((512 - (content.length % 512)) % 512)]);
}
