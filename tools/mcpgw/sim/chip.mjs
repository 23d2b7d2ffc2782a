// What rp2040js leaves out of the chip or gets wrong, for the parts MicroPython touches: the flash
// chip's own commands behind the SSI, the ring oscillator's random bit, UART transmit interrupts,
// pins that read back what drives them.

import { randomBytes } from 'node:crypto';
import { BasePeripheral, GPIOPinState } from './emulator.mjs';
import { randomFrom } from './flash.mjs';

// Registers that only need to keep what is written to them.
class Registers extends BasePeripheral {
  constructor(mcu, name, initial = {}) {
    super(mcu, name);
    this.values = new Map(Object.entries(initial).map(([key, value]) => [Number(key), value]));
  }

  readUint32(offset) {
    return this.values.get(offset) ?? 0;
  }

  writeUint32(offset, value) {
    this.values.set(offset, value);
  }
}

// Ring oscillator: running and stable, and a source of random bits (os.urandom comes from here).
class RingOscillator extends Registers {
  constructor(mcu, seed) {
    super(mcu, 'ROSC', { 0x18: 0x80001000 });
    const random = seed === null ? null : randomFrom(seed);
    let pool = 0;
    let left = 0;
    this.bit = () => {
      if (left === 0) {
        pool = random ? random() : randomBytes(4).readUInt32LE();
        left = 32;
      }
      left--;
      return (pool >>> left) & 1;
    };
  }

  readUint32(offset) {
    return offset === 0x1c ? this.bit() : super.readUint32(offset);
  }
}

// The synchronous serial interface with a W25Q16JV behind it, for the commands that the second-stage
// boot loader and flash_do_cmd() send: status, JEDEC id, unique id. Reading through XIP and the ROM's
// erase and program do not come this way.
class SerialFlash extends Registers {
  constructor(mcu, id) {
    super(mcu, 'SSI', { 0x58: 0x51535049, 0x5c: 0x3430312a });
    this.answers = new Map([
      [0x05, [0x00]], // status 1: not busy
      [0x35, [0x02]], // status 2: quad enabled
      [0x9f, [0xef, 0x40, 0x15]],
      [0x4b, [0, 0, 0, 0, ...id]], // four dummy bytes, then the unique id
    ]);
    this.selected = false; // chip select is held by software
    this.end();
  }

  end() {
    this.command = null;
    this.sent = 0;
    this.received = [];
  }

  // Software drives the chip select: a transaction begins or ends.
  select(low) {
    this.selected = low;
    this.end();
  }

  readUint32(offset) {
    if (offset === 0x28) return 0x06 | (this.received.length ? 0x08 : 0); // status: never busy
    if (offset === 0x60) return this.received.shift() ?? 0;
    return super.readUint32(offset);
  }

  writeUint32(offset, value) {
    super.writeUint32(offset, value);
    if (offset === 0x08) this.end(); // (dis)abled
    if (offset !== 0x60) return;
    // With automatic chip select a transaction lasts while the FIFO is not drained.
    if (!this.selected && this.received.length === 0) this.end();
    if (this.sent === 0) this.command = value & 0xff;
    const answer = this.sent > 0 ? this.answers.get(this.command)?.[this.sent - 1] : 0;
    this.received.push(answer ?? 0);
    this.sent++;
  }
}

// Pads of the flash pins: forcing the chip select is how software starts a flash command.
class FlashPins extends Registers {
  constructor(mcu, flash) {
    super(mcu, 'IO_QSPI');
    this.flash = flash;
  }

  writeUint32(offset, value) {
    super.writeUint32(offset, value);
    if (offset === 0x0c) this.flash.select(((value >> 8) & 3) === 2);
  }
}

// machine.UART.write() waits for a transmit interrupt that rp2040js raises for ever once enabled.
function mendUart(uart) {
  const write = uart.writeUint32.bind(uart);
  uart.checkInterrupts = () => {
    uart.rp2040.setInterrupt(uart.irq, !!(uart.interruptStatus & uart.interruptMask));
  };
  uart.writeUint32 = (offset, value) => {
    write(offset, value);
    if (offset === 0) {
      uart.interruptStatus |= 0x20;
      uart.checkInterrupts();
    }
  };
}

export class Pins {
  // onChange(pin, value): an output changed; called for watched pins only.
  constructor(mcu, onChange) {
    this.mcu = mcu;
    this.driven = new Map(); // pin -> boolean: what is connected from outside
    this.watched = new Set();
    for (const pin of mcu.gpio) {
      pin.addListener((state) => {
        this.settle(pin.index);
        if (this.watched.has(pin.index) && state <= GPIOPinState.High) onChange(pin.index, state);
      });
    }
  }

  // Drive a pin from outside: 0, 1, or null to let go.
  drive(pin, value) {
    if (value === null) this.driven.delete(pin);
    else this.driven.set(pin, !!value);
    this.settle(pin);
  }

  // A pin reads its own output, else what drives it from outside, else its pull-up.
  settle(index) {
    const pin = this.mcu.gpio[index];
    const { value } = pin;
    let level = this.driven.get(index) ?? value === GPIOPinState.InputPullUp;
    if (value <= GPIOPinState.High) level = value === GPIOPinState.High;
    if (pin.rawInputValue !== level) pin.setInputValue(level);
  }

  read(index) {
    const pin = this.mcu.gpio[index];
    return { value: pin.rawInputValue ? 1 : 0, output: pin.outputEnable };
  }
}

// Put the missing parts into a new RP2040. id: 8 bytes; seed: for random bits, null for real ones.
export function completeChip(mcu, { id, seed }) {
  const flash = new SerialFlash(mcu, id);
  Object.assign(mcu.peripherals, {
    0x14000: new Registers(mcu, 'XIP_CTRL', { 0x00: 3, 0x08: 2 }),
    0x18000: flash,
    0x40018: new FlashPins(mcu, flash),
    0x40060: new RingOscillator(mcu, seed),
    0x40064: new Registers(mcu, 'VREG_AND_CHIP_RESET', { 0x00: 0x10b1, 0x08: 0x100 }),
  });
  mcu.uart.forEach(mendUart);
  mcu.adc.channelValues[4] = 876; // 0.706 V: 27 degrees Celsius
}
