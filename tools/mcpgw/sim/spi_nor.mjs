// A NOR flash chip wired to the Pico's SPI, with JEDEC's commands: what a 1 MB W25Q80 does, as far as
// drivers see it. Transfers, programs and erases take the time that they take.

import { GPIOPinState } from './emulator.mjs';
import { Flash, PAGE, SECTOR } from './flash.mjs';

const ID = [0xef, 0x40, 0x14];
const BUSY = 1;
const ENABLED = 2;
const PROTECTED = 0x1c;
const PROGRAM_NANOS = 700_000;
const ERASE_NANOS = 45_000_000;
const TABLE_AT = 0x30;

// The tables that tell what the chip can do (JESD216).
function sfdp(size) {
  const basic = new Uint8Array(64);
  const view = new DataView(basic.buffer);
  basic.set([0xe5, 0x20]); // 4 KB sectors, erased by 0x20
  view.setUint32(4, 8 * size - 1, true);
  basic.set([12, 0x20, 15, 0x52], 28);
  basic[40] = 0x80; // pages of 256 bytes
  const head = [...Buffer.from('SFDP'), 6, 1, 0, 0xff, 0, 6, 1, 16, TABLE_AT, 0, 0, 0xff];
  const table = new Uint8Array(TABLE_AT + 64).fill(0xff);
  table.set(head);
  table.set(basic, TABLE_AT);
  return table;
}

export class SpiNor {
  // bus: 0 or 1; cs: GPIO of its chip select; size: bytes; file: where its content is kept.
  constructor({ bus, cs, size, file }) {
    this.bus = bus;
    this.cs = cs;
    this.store = new Flash(size, file, () => {});
    this.table = sfdp(size);
    this.status = 0;
    this.busyUntil = 0;
    this.asleep = false;
    this.clock = null;
    this.input = null; // bytes since it was selected
  }

  // Wire it to a chip that has just been powered or reset; what it is doing it goes on doing.
  attach(mcu) {
    const left = this.clock ? Math.max(0, this.busyUntil - this.clock.nanos) : 0;
    this.clock = mcu.clock;
    this.busyUntil = mcu.clock.nanos + left;
    this.input = null;
    const spi = mcu.spi[this.bus];
    let answer = 0xff;
    const alarm = mcu.clock.createAlarm(() => spi.completeTransmit(answer));
    spi.onTransmit = (value) => {
      answer = this.byte(value & 0xff);
      alarm.schedule(8e9 / spi.clockFrequency);
    };
    mcu.gpio[this.cs].addListener((state) => {
      if (state === GPIOPinState.Low) this.input ??= [];
      else if (this.input) this.deselect();
    });
  }

  get busy() {
    return this.clock.nanos < this.busyUntil;
  }

  byte(value) {
    if (!this.input) return 0xff;
    this.input.push(value);
    const [code] = this.input;
    const n = this.input.length;
    if (code === 0x05 && n > 1) return this.status | (this.busy ? BUSY : 0);
    if (this.busy || this.asleep) return 0xff;
    if (code === 0x9f && n > 1) return ID[n - 2] ?? 0xff;
    if (code === 0x5a && n > 5) return this.table[this.address() + n - 6] ?? 0xff;
    if (code === 0x0b && n > 5) return this.store.bytes[(this.address() + n - 6) % this.store.bytes.length];
    if (code === 0x03 && n > 4) return this.store.bytes[(this.address() + n - 5) % this.store.bytes.length];
    return 0xff;
  }

  address() {
    return (this.input[1] << 16) | (this.input[2] << 8) | this.input[3];
  }

  // Chip select has gone up: that is when a command is carried out.
  deselect() {
    const { input } = this;
    const [code] = input;
    if (input.length === 0) {
      this.input = null;
      return;
    }
    const at = this.address() % this.store.bytes.length;
    this.input = null;
    if (this.asleep) {
      this.asleep = code !== 0xab;
      return;
    }
    if (this.busy) return;
    const enabled = this.status & ENABLED;
    if (code === 0x06 && input.length === 1) this.status |= ENABLED;
    else if (code === 0x04) this.status &= ~ENABLED;
    else if (code === 0xb9) this.asleep = true;
    else if (enabled && code === 0x01 && input.length === 2) this.work(PROGRAM_NANOS, input[1] & PROTECTED);
    else if (enabled && code === 0x02 && input.length > 4) {
      if (!(this.status & PROTECTED)) this.program(at, input.slice(4));
      this.work(PROGRAM_NANOS, this.status & PROTECTED);
    } else if (enabled && code === 0x20 && input.length === 4) {
      const start = at - (at % SECTOR);
      if (!(this.status & PROTECTED)) this.change(start, new Uint8Array(SECTOR).fill(0xff));
      this.work(ERASE_NANOS, this.status & PROTECTED);
    }
  }

  // Bits are cleared, none is set; what goes beyond the page begins it again.
  program(at, data) {
    const page = at - (at % PAGE);
    const bytes = this.store.bytes.slice(page, page + PAGE);
    for (const value of data.slice(-PAGE)) bytes[at++ % PAGE] &= value;
    this.change(page, bytes);
  }

  change(at, bytes) {
    this.store.bytes.set(bytes, at);
    this.store.save(at, bytes.length);
  }

  work(nanos, status) {
    this.status = status;
    this.busyUntil = this.clock.nanos + nanos;
  }
}
