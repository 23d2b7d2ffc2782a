// Where rp2040js comes from. It lives in the user's cache (`mcpgw sim setup`), not beside this file,
// so a plain `import 'rp2040js'` would not find it.

import { pathToFileURL } from 'node:url';
import path from 'node:path';

const entry = path.join(process.env.MCPGW_RP2040JS ?? '', 'dist', 'esm', 'index.js');

export const { BasePeripheral, GPIOPinState, RP2040 } = await import(pathToFileURL(entry).href);
