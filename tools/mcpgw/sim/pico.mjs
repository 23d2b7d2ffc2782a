// The emulated Pico as a process of its own, started by mcpgw.sim.
//
//   node pico.mjs CONFIG     CONFIG: one JSON object, see `defaults`
//
// Commands come as JSON lines on standard input, answers and events leave as JSON lines on standard
// output (docs/simulator.md). Ends with 0 when told to stop or when standard input closes,
// with 137 when its power was cut.

import fs from 'node:fs';
import readline from 'node:readline';
import { Board } from './board.mjs';
import { ConsolePort } from './console_port.mjs';
import { Flash } from './flash.mjs';
import { makeCommands } from './control.mjs';
import { SpiNor } from './spi_nor.mjs';

const defaults = {
  bootrom: null, // path of the RP2040's boot ROM, 16 KB
  firmware: null, // path of a UF2 file, or null to run what the flash holds
  flash: null, // path of the flash image, or null to forget it at the end
  flashSize: 2 << 20,
  consoleFd: null, // number of an inherited socket for the console
  tcp: null, // else: TCP port for it, 0 for any
  hangup: false, // break the console's connection at a reset
  speed: 1, // simulated time per real time at most; 0: no limit
  hold: false, // let no time pass from when the console is there until the command `go`
  seed: null, // of the chip's random bits; null: truly random
  xipCache: false, // let reads of flash take the time that they take through its cache
  id: '0000000000000000', // unique id of the flash chip, hexadecimal
  cut: null, // {n, bytes, mode, seed}: power cut counted from boot
  adc: {}, // channel -> 0..4095
  pins: {}, // GPIO -> 0 or 1
  watch: [], // GPIOs whose output edges are reported
  spiNor: null, // {bus, cs, size, file}: a flash chip at the SPI
};

const SLICE_MS = 4; // how long the core runs before the process looks at its sockets
const BURST = 4000; // instructions between two looks at the clock
const CLOSE_MS = 50; // time for a client's last bytes to come through after it closed
const LEAD_NANOS = 1e6; // how far simulated time may lead real time (timers have 1 ms)
const LAG_NANOS = 20e6; // what a busy core may fall behind in it and still make up for

class Pico {
  constructor(config) {
    this.config = config;
    this.bootrom = fs.readFileSync(config.bootrom);
    this.flash = new Flash(config.flashSize, config.flash, (cut) => this.powerCut(cut));
    if (config.firmware) this.flash.load(config.firmware);
    if (config.cut) this.flash.arm(config.cut);
    this.port = new ConsolePort({
      onInput: () => this.poke(),
      onRoom: () => this.poke(),
      onOpen: (open) => this.open(open),
    });
    this.spiNor = config.spiNor && new SpiNor(config.spiNor);
    this.tracing = false;
    this.held = false;
    this.isOpen = false;
    this.closing = null;
    this.timer = null;
    this.immediate = null;
    this.resets = 0;
    this.board = this.boot(null);
    for (const [channel, value] of Object.entries(config.adc)) this.adc(Number(channel), value);
    for (const [pin, value] of Object.entries(config.pins)) this.pin(Number(pin), value);
    this.board.pins.watched = new Set(config.watch);
  }

  emit(event) {
    const line = Buffer.from(`${JSON.stringify(event)}\n`);
    for (let at = 0; at < line.length; ) {
      try {
        at += fs.writeSync(1, line, at);
      } catch (error) {
        if (error.code !== 'EAGAIN') throw error;
      }
    }
  }

  boot(keep) {
    const { config } = this;
    const settings = { id: Buffer.from(config.id, 'hex'), seed: config.seed, xipCache: config.xipCache };
    if (settings.seed !== null) settings.seed += this.resets; // each boot draws other bits
    const on = {
      ready: () => {
        this.held = this.config.hold;
        this.emit({ event: 'ready', ...this.now() });
      },
      reset: (cause, kept) => this.resetSoon(cause, kept),
      bootloader: () => this.emit({ event: 'bootloader', ...this.now() }),
      fault: (why) => this.emit({ event: 'fault', why, ...this.now() }),
      lockup: (why) => this.emit({ event: 'lockup', why, ...this.now() }),
      pin: (pin, value) => this.emit({ event: 'pin', pin, value, ...this.now() }),
      packet: (direction, data, nanos) => this.tracePacket(direction, data, nanos),
    };
    const { bootrom, flash, port } = this;
    this.rebase(0);
    const board = new Board({ bootrom, flash, stream: port, settings, on, keep });
    this.spiNor?.attach(board.mcu);
    return board;
  }

  // Cycles the core executed and nanoseconds of simulated time, both since the last reset.
  now() {
    return { cycles: this.board.core.cycles, ns: Math.round(this.board.clock.nanos) };
  }

  tracePacket(direction, data, nanos) {
    if (!this.tracing) return;
    const ends = data[data.length - 1] === 10;
    this.emit({ event: 'packet', direction, length: data.length, ends, ns: Math.round(nanos) });
  }

  powerCut(details) {
    this.port.flush();
    this.emit({ event: 'cut', ...details, ...this.now() });
    process.exit(137);
  }

  resetSoon(cause, kept) {
    this.pendingReset = { cause, kept };
  }

  // Reset as the RUN pin does, or as the watchdog asked for. What was under way on USB is lost.
  reset(cause, keep) {
    this.port.flush();
    this.port.clear();
    if (this.config.hangup) this.port.hangUp();
    this.resets++;
    this.emit({ event: 'reset', cause, ...this.now() });
    this.board = this.boot(keep ?? this.board.outside());
    this.schedule(0);
  }

  // A client opened or closed the console. What it sent before closing still arrives, as the host's
  // driver sees to; only then does the board see the line drop.
  open(open) {
    this.isOpen = open;
    clearTimeout(this.closing);
    if (open) this.board.usb.setOpen(true);
    else this.closing = setTimeout(() => this.closed(), CLOSE_MS);
    this.poke();
  }

  closed() {
    if (this.port.pending && this.board.usb.ready) this.open(false);
    else {
      this.port.clear();
      this.board.usb.setOpen(false);
      this.poke();
    }
  }

  adc(channel, value) {
    if (!(channel >= 0 && channel <= 4)) throw new Error('adc: channels are 0 to 4');
    if (!(value >= 0 && value <= 4095)) throw new Error('adc: values are 0 to 4095');
    this.board.mcu.adc.channelValues[channel] = Math.round(value);
  }

  pin(pin, value) {
    if (!this.board.mcu.gpio[pin]) throw new Error('pin: there are 0 to 29');
    this.board.pins.drive(pin, value);
    this.poke();
  }

  // --- time ------------------------------------------------------------------------------------

  rebase(nanos) {
    this.realStart = performance.now();
    this.simulatedStart = nanos;
  }

  // The simulated time that real time allows by now.
  allowed() {
    const { speed } = this.config;
    if (!speed) return Infinity;
    return this.simulatedStart + (performance.now() - this.realStart) * 1e6 * speed;
  }

  // Something came from outside: let the board see it at once.
  poke() {
    if (!this.board.usb.ready) this.port.clear(); // nobody is listening: lost, as on a real cable
    this.board.usb.kick();
    this.schedule(0);
  }

  // Let the time that passed while the core slept pass for the board too.
  sync() {
    if (this.config.speed && !this.held) this.board.idle(this.allowed());
  }

  schedule(milliseconds) {
    if (milliseconds > 0) {
      this.timer = setTimeout(() => this.step(), milliseconds);
    } else if (this.immediate === null) {
      clearTimeout(this.timer);
      this.immediate = setImmediate(() => this.step());
    }
  }

  step() {
    this.immediate = null;
    clearTimeout(this.timer);
    if (this.held) return;
    const end = performance.now() + SLICE_MS;
    let sleep = 0;
    do {
      const { board } = this;
      const allowed = this.allowed() + LEAD_NANOS;
      if (board.core.waiting) sleep = this.rest(board.idle(allowed));
      else if (board.clock.nanos > allowed) sleep = this.rest(board.clock.nanos);
      else this.run(allowed);
      if (this.pendingReset) {
        const { cause, kept } = this.pendingReset;
        this.pendingReset = null;
        this.reset(cause, kept);
        return;
      }
    } while (sleep === 0 && !this.held && performance.now() < end);
    this.port.flush();
    if (sleep < Infinity) this.schedule(sleep);
  }

  // Run the core for a while. It is slower than the real one when busy: what it falls behind in real
  // time is not made up for later, or its next sleeps would be too short for the host to keep up.
  run(allowed) {
    this.board.run(BURST);
    const { nanos } = this.board.clock;
    if (nanos < allowed - LAG_NANOS) this.rebase(nanos);
  }

  // How many milliseconds to sleep until simulated time `nanos` is allowed; 0: go on.
  rest(nanos) {
    if (nanos === 0) return 0;
    if (nanos === Infinity) return Infinity;
    if (!this.config.speed) return 0;
    return Math.max(1, (nanos - this.allowed()) / 1e6 / this.config.speed);
  }
}

async function main() {
  const pico = new Pico({ ...defaults, ...JSON.parse(process.argv[2]) });
  const { consoleFd, tcp } = pico.config;
  if (consoleFd !== null) pico.port.inherit(consoleFd);
  if (tcp !== null) pico.emit({ event: 'listening', port: await pico.port.listen(tcp) });
  const commands = makeCommands(pico);
  const lines = readline.createInterface({ input: process.stdin });
  lines.on('line', (line) => commands(line));
  lines.on('close', () => process.exit(0));
  pico.schedule(0);
}

main().catch((error) => {
  process.stderr.write(`${error.message}\n`);
  process.exit(1);
});
