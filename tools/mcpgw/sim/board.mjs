// One powered-on Pico: the chip with its mends, the flash behind the boot ROM's functions, the USB
// cable. A reset makes a new one around the same flash.

import { RP2040 } from './emulator.mjs';
import { Pins, completeChip } from './chip.mjs';
import { UsbHost } from './usb_host.mjs';
import { XIPCache } from './xip.mjs';

const ROM_TABLE = 0x14; // where the boot ROM keeps the address of its function table
const BKPT = 0xbe00;
const BX_LR = 0x4770;
const FIRST_HOOK = 0xe0; // the BKPT number of hook 0; firmware uses small ones
const WFI = 0xbf30;
const FLASH_START = 0x10000000;
const hex = (number) => number.toString(16);
const RAM_START = 0x20000000;
const WATCHDOG = 0x40058;

// A stray store to flash must not change it; onStore(offset) is told instead.
class FlashView extends DataView {
  setUint32(offset) {
    this.onStore(offset);
  }
}

export class Board {
  // bootrom: Uint8Array of 16 KB. flash: Flash. stream: the console's other side (see UsbHost).
  // settings: {id, seed, xipCache}. on: {ready(), reset(cause, keep), bootloader(), lockup(why),
  // fault(why), pin(pin, value), packet(direction, bytes, nanos)}. keep: what survives the reset.
  constructor({ bootrom, flash, stream, settings, on, keep = null }) {
    this.on = on;
    this.flash = flash;
    this.stopped = null; // why the core will not run again before a reset
    const mcu = new RP2040();
    this.mcu = mcu;
    this.core = mcu.core;
    this.clock = mcu.clock;
    this.nanosPerCycle = 1e9 / mcu.clkSys;
    mcu.addClockListener((hertz) => {
      this.nanosPerCycle = 1e9 / hertz;
    });
    mcu.logger = this.makeLogger();
    this.loadRom(bootrom);
    mcu.flash = flash.bytes; // after the ROM: loading that resets the chip and blanks its flash
    mcu.flash16 = new Uint16Array(flash.bytes.buffer);
    mcu.flashView = new FlashView(flash.bytes.buffer);
    mcu.flashView.onStore = (offset) => on.fault(`store to flash at 0x${hex(FLASH_START + offset)}`);
    this.quickenMemory();
    completeChip(mcu, settings);
    this.xip = settings.xipCache ? new XIPCache(mcu) : null;
    this.pins = new Pins(mcu, (pin, value) => on.pin(pin, value));
    this.usb = new UsbHost(mcu, stream, { onReady: on.ready, onPacket: on.packet });
    this.watchdog(keep?.watchdog);
    if (keep) this.restore(keep);
    mcu.core.PC = FLASH_START; // where the ROM would go: the second-stage boot loader
  }

  makeLogger() {
    const quiet = () => {};
    return {
      debug: quiet,
      warn: quiet,
      error: (name, message) => process.stderr.write(`${name}: ${message}\n`),
      // rp2040js ignores SEV, and tells nobody but the log; without it a wait for an event that the
      // core sent to itself would not end.
      info: (name, message) => {
        if (message === 'SEV') this.core.eventRegistered = true;
      },
    };
  }

  // The ROM's flash functions drive the SSI in ways rp2040js does not follow. Each becomes
  // `bkpt; bx lr`, and the breakpoint does its work here.
  loadRom(bootrom) {
    const rom = Buffer.from(bootrom);
    const { registers } = this.core;
    const hooks = {
      IF: () => {}, // connect the flash
      EX: () => {}, // leave execute-in-place
      FC: () => this.xip?.flush(), // flush the cache
      CX: () => {}, // enter execute-in-place
      RE: () => this.clock.tick(this.flash.erase(registers[0], registers[1])),
      RP: () => this.clock.tick(this.flash.program(registers[0], this.read(registers[1], registers[2]))),
      UB: () => this.halt('bootloader'),
    };
    const table = Object.values(hooks);
    for (let at = rom.readUInt16LE(ROM_TABLE); rom.readUInt16LE(at); at += 4) {
      const hook = Object.keys(hooks).indexOf(rom.toString('latin1', at, at + 2));
      if (hook < 0) continue;
      const entry = rom.readUInt16LE(at + 2) & ~1;
      rom.writeUInt16LE(BKPT | (FIRST_HOOK + hook), entry);
      rom.writeUInt16LE(BX_LR, entry + 2);
    }
    const words = new Uint32Array(rom.length / 4).map((_, i) => rom.readUInt32LE(4 * i));
    this.mcu.loadBootrom(words);
    this.mcu.onBreak = (number) => {
      const hook = table[number - FIRST_HOOK];
      if (hook) hook();
      else this.halt(`breakpoint ${number} at 0x${hex(this.core.PC - 2)}`);
    };
  }

  // Aligned accesses to RAM, and to flash for reading, through typed arrays.
  quickenMemory() {
    const { core, mcu } = this;
    const flash16 = mcu.flash16;
    const flash32 = new Int32Array(mcu.flash.buffer);
    const ram16 = new Uint16Array(mcu.sram.buffer);
    const ram32 = new Int32Array(mcu.sram.buffer);
    const flashSize = mcu.flash.length;
    const ramSize = mcu.sram.length;
    core.readUint16 = (address) => {
      const inFlash = address - FLASH_START;
      if (inFlash >= 0 && inFlash < flashSize) return flash16[inFlash >> 1];
      const inRam = address - RAM_START;
      if (inRam >= 0 && inRam < ramSize) return ram16[inRam >> 1];
      return mcu.readUint16(address);
    };
    core.readUint32 = (address) => {
      if ((address & 3) === 0) {
        const inRam = address - RAM_START;
        if (inRam >= 0 && inRam < ramSize) return ram32[inRam >> 2] >>> 0;
        const inFlash = address - FLASH_START;
        if (inFlash >= 0 && inFlash < flashSize) return flash32[inFlash >> 2] >>> 0;
      }
      return mcu.readUint32(address);
    };
    core.writeUint32 = (address, value) => {
      const inRam = address - RAM_START;
      if (inRam >= 0 && inRam < ramSize && (address & 3) === 0) ram32[inRam >> 2] = value;
      else mcu.writeUint32(address, value);
    };
  }

  read(address, length) {
    return Uint8Array.from({ length }, (_, i) => this.mcu.readUint8(address + i));
  }

  // The core does nothing more until a reset.
  halt(why) {
    this.stopped = why;
    this.core.waiting = true;
    if (why === 'bootloader') this.on.bootloader();
    else this.on.lockup(why);
  }

  watchdog(kept) {
    const watchdog = this.mcu.peripherals[WATCHDOG];
    if (kept) {
      watchdog.reason = kept.reason;
      watchdog.scratchData.set(kept.scratch);
    }
    watchdog.onWatchdogTrigger = () => {
      watchdog.alarm.enable = false; // or rp2040js would ring it for ever at this very moment
      if (this.stopped === 'reset') return;
      this.stopped = 'reset';
      this.core.waiting = true;
      this.on.reset(watchdog.reason === 1 ? 'watchdog timeout' : 'software', {
        ...this.outside(),
        watchdog: { reason: watchdog.reason, scratch: Uint32Array.from(watchdog.scratchData) },
      });
    };
  }

  // What is connected to the board, which a reset does not change.
  outside() {
    return {
      adc: [...this.mcu.adc.channelValues],
      driven: this.pins.driven,
      watched: this.pins.watched,
      open: this.usb.lineState !== 0,
    };
  }

  restore({ adc, driven, watched, open }) {
    this.mcu.adc.channelValues = adc;
    for (const [pin, value] of driven) this.pins.drive(pin, value);
    this.pins.watched = watched;
    this.usb.setOpen(open);
  }

  // Run up to `count` instructions, or until the core waits for something.
  run(count) {
    const { core, clock, nanosPerCycle } = this;
    for (let i = 0; i < count && !core.waiting; i++) {
      // First the instruction: a flash operation lets time pass by itself.
      const spent = core.executeInstruction() * nanosPerCycle;
      const now = clock.nanosCounter + spent;
      const alarm = clock.nextAlarm;
      if (alarm !== null && alarm.nanos <= now) clock.tick(spent);
      else clock.nanosCounter = now;
    }
  }

  // Let time pass for a core that waits: up to `until` (nanoseconds of its clock) or its next alarm.
  // Returns the time of the alarm that lies beyond, Infinity if there is none, 0 if the core woke up.
  idle(until) {
    const { core, clock } = this;
    while (core.waiting) {
      if (this.stopped) return Infinity;
      if (this.wakesMasked()) core.waiting = false;
      else if (clock.nextAlarm && clock.nextAlarm.nanos <= until) {
        clock.tick(Math.max(0, clock.nextAlarm.nanos - clock.nanos));
      } else {
        if (Number.isFinite(until) && until > clock.nanos) clock.tick(until - clock.nanos);
        return clock.nextAlarm ? clock.nextAlarm.nanos : Infinity;
      }
    }
    return 0;
  }

  // WFI also ends for an interrupt that is pending but masked; rp2040js only looks at new ones.
  wakesMasked() {
    const { core, mcu } = this;
    return (core.pendingInterrupts & core.enabledInterrupts) !== 0 && mcu.readUint16(core.PC - 2) === WFI;
  }
}
