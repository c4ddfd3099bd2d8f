/** Which devices can be used now, and why the others cannot. */
import { devices } from '../engine/index.js';
import { WordmaskError } from '../util/errors.js';

export function requireCpu(device: string): 'cpu' {
  if (device === 'cpu' || device === 'auto') return 'cpu';
  const found = devices().find(({ name }) => device.startsWith(name));
  throw new WordmaskError('E_DEVICE', `device ${device} cannot be used: ${found?.reason}. ${found?.remedy}; \`wordmask doctor\` tells more`, { details: { device } });
}
