// The time that flash takes: a model of the execute-in-place cache, for `--xip-cache`.
//
// From the RP2040's datasheet, 2.6.3: 16 KB, two ways, lines of 8 bytes, a hit costs nothing. A miss
// costs the transfer of its line, in the format and at the clock that the firmware has set the serial
// interface to. What the datasheet leaves open is decided here: the way used longer ago is replaced,
// each miss is one transfer of a line whatever was asked for, and nothing is read ahead.
//
// Not modelled: what DMA reads, and the streaming FIFO.

const FLASH_START = 0x10000000;
const FLASH_MIRRORS = 0x04000000; // four aliases of 16 MB, see `through`
const SETS = 1024;
const LINE_SHIFT = 3; // 8 bytes
const LINE_BITS = 64;
const FLUSH_CYCLES = 1024; // one for each set
const NO_LINE = -1;

// XIP_CTRL
const CTRL = 0x00;
const FLUSH = 0x04;
const CTR_HIT = 0x0c;
const CTR_ACC = 0x10;
const CTRL_EN = 1;

// SSI
const CTRLR0 = 0x00;
const BAUDR = 0x14;
const SPI_CTRLR0 = 0xf4;

// Cycles of the system clock that the transfer of one line takes. register(offset): a register of the
// serial interface.
export function lineCycles(register) {
  const lanes = [1, 2, 4, 1][(register(CTRLR0) >>> 21) & 3];
  const format = register(SPI_CTRLR0);
  const [instructionLanes, addressLanes] = [[1, 1], [1, lanes], [lanes, lanes], [1, 1]][format & 3];
  const address = ((format >>> 2) & 15) * 4; // with the mode bits
  const instruction = [0, 4, 8, 16][(format >>> 8) & 3];
  const wait = (format >>> 11) & 31;
  const clocks = instruction / instructionLanes + address / addressLanes + wait + LINE_BITS / lanes;
  return clocks * register(BAUDR);
}

export class XIPCache {
  // mcu: the RP2040, whose reads of flash go through here from now on.
  constructor(mcu) {
    this.core = mcu.core;
    this.hits = 0; // since the chip's reset
    this.misses = 0;
    this.stalled = 0; // cycles that they cost
    this.stall = 0; // ... and that the instruction under way has still to pay for
    this.cleared = { hits: 0, misses: 0 }; // what the chip's own counters began from
    this.flushed = 0; // the cycle at which a flush ends
    this.enabled = true;
    this.fetched = 0; // the word of flash that the core fetched last
    this.lines = new Int32Array(2 * SETS).fill(NO_LINE); // of each set: way 0, way 1
    this.older = new Uint8Array(SETS); // the way to replace
    this.attachControl(mcu.peripherals[0x14000]);
    this.attachSerial(mcu.peripherals[0x18000]);
    this.attachCore(mcu);
  }

  attachControl(control) {
    const { readUint32, writeUint32 } = control;
    control.readUint32 = (offset) => {
      if (offset === CTR_HIT) return Math.min(this.hits - this.cleared.hits, 0xffffffff);
      if (offset === CTR_ACC) {
        const { hits, misses } = this.cleared;
        return Math.min(this.hits - hits + this.misses - misses, 0xffffffff);
      }
      return readUint32.call(control, offset);
    };
    control.writeUint32 = (offset, value) => {
      if (offset === CTRL) this.enabled = (value & CTRL_EN) !== 0;
      if (offset === FLUSH) {
        if (value & 1) this.flush();
      } else if (offset === CTR_HIT) this.cleared.hits = this.hits;
      else if (offset === CTR_ACC) this.cleared = { hits: this.hits, misses: this.misses };
      else writeUint32.call(control, offset, value);
    };
  }

  attachSerial(serial) {
    const { writeUint32 } = serial;
    const register = (offset) => serial.values.get(offset) ?? 0;
    serial.writeUint32 = (offset, value) => {
      writeUint32.call(serial, offset, value);
      if (offset === CTRLR0 || offset === BAUDR || offset === SPI_CTRLR0) this.cost = lineCycles(register);
    };
    this.cost = lineCycles(register);
  }

  attachCore(mcu) {
    const { core } = mcu;
    const { registers } = core;
    for (const name of ['readUint8', 'readUint32']) {
      const read = core[name];
      core[name] = (address) => {
        if (address - FLASH_START >= 0 && address - FLASH_START < FLASH_MIRRORS) this.through(address);
        return read.call(core, address);
      };
    }
    const read = core.readUint16;
    core.readUint16 = (address) => {
      if (address - FLASH_START >= 0 && address - FLASH_START < FLASH_MIRRORS) {
        const ahead = address - registers[15];
        if (ahead !== 0 && ahead !== 2) this.through(address);
        else if ((address & ~3) !== this.fetched) {
          // Instructions are fetched in words.
          this.fetched = address & ~3;
          this.through(address);
        }
      }
      return read.call(core, address);
    };
    const execute = core.executeInstruction;
    core.executeInstruction = () => {
      const cycles = execute.call(core);
      const { stall } = this;
      if (stall === 0) return cycles;
      this.stall = 0;
      core.cycles += stall;
      return cycles + stall;
    };
  }

  // A read of flash. The aliases: 0x10 looks into the cache and fills it, 0x11 only looks, 0x12 only
  // fills, 0x13 does neither.
  through(address) {
    if (this.flushed !== 0) this.awaitFlush();
    const line = (address & 0xffffff) >> LINE_SHIFT;
    const set = line & (SETS - 1);
    const { lines } = this;
    const alias = this.enabled ? (address >>> 24) & 3 : 3;
    if (alias < 2) {
      if (lines[2 * set] === line) {
        this.older[set] = 1;
        this.hits++;
        return;
      }
      if (lines[2 * set + 1] === line) {
        this.older[set] = 0;
        this.hits++;
        return;
      }
    }
    this.misses++;
    this.stalled += this.cost;
    this.stall += this.cost;
    if ((alias & 1) === 0) this.fill(set, line);
  }

  fill(set, line) {
    const { lines, older } = this;
    // A line is never in both ways: the alias that does not look may bring one that is there.
    let way = older[set];
    if (lines[2 * set] === line) way = 0;
    else if (lines[2 * set + 1] === line) way = 1;
    lines[2 * set + way] = line;
    older[set] = 1 - way;
  }

  // Forget every line. Reads wait until that is done.
  flush() {
    this.lines.fill(NO_LINE);
    this.older.fill(0);
    this.flushed = this.core.cycles + FLUSH_CYCLES;
  }

  awaitFlush() {
    const left = this.flushed - this.core.cycles - this.stall;
    this.flushed = 0;
    if (left > 0) {
      this.stalled += left;
      this.stall += left;
    }
  }

  status() {
    const { hits, misses, stalled, cost } = this;
    return { hits, misses, stalled, cost };
  }
}
