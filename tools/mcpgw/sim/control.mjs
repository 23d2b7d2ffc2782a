// The commands that arrive on the control channel: {"id": 1, "cmd": "adc", ...} in, and
// {"id": 1, "ok": true, ...} or {"id": 1, "error": "..."} out.

export function makeCommands(pico) {
  const { flash } = pico;
  const commands = {
    // What the board is doing. cpu: seconds of this machine's processor; sent, received: console bytes;
    // pending: of those, what the board has not taken yet; xip: what the cache of the flash did.
    status: () => ({
      ...pico.now(),
      ready: pico.board.usb.ready,
      open: pico.isOpen,
      waiting: pico.board.core.waiting,
      stopped: pico.board.stopped,
      resets: pico.resets,
      operations: flash.operations,
      sent: pico.port.sent,
      received: pico.port.received,
      pending: pico.port.pending,
      cpu: (process.cpuUsage().user + process.cpuUsage().system) / 1e6,
      pc: pico.board.core.PC,
      xip: pico.board.xip?.status() ?? null,
    }),
    // A client opened or closed the console (the DTR line).
    open: ({ on }) => pico.open(!!on),
    // Set an analogue input: channel 0 to 4, 12 bits.
    adc: ({ channel, value }) => pico.adc(channel, value),
    // Drive a GPIO: 0, 1, or null to let go.
    pin: ({ pin, value }) => pico.pin(pin, value),
    // Read a GPIO's level.
    read: ({ pin }) => pico.board.pins.read(pin),
    // Report these GPIOs' output edges as events.
    watch: ({ pins }) => {
      pico.board.pins.watched = new Set(pins);
    },
    // Report console packets as events, with the simulated time at which each is complete.
    trace: ({ on }) => {
      pico.tracing = !!on;
    },
    // Cut the power in the n-th flash operation from now; n 0 takes it back.
    cut: ({ n, bytes, mode, seed }) => {
      if (n === 0) flash.cut = null;
      else flash.arm({ n, bytes, mode, seed });
      return { operations: flash.operations };
    },
    reset: () => pico.reset('run pin'),
    speed: ({ value }) => {
      pico.config.speed = value;
      pico.rebase(pico.board.clock.nanos);
      pico.schedule(0);
    },
    // End the standstill that `hold` asked for.
    go: () => {
      pico.held = false;
      pico.rebase(pico.board.clock.nanos);
    },
    // The power is gone, now.
    off: () => {
      pico.port.flush();
      setImmediate(() => process.exit(137));
    },
  };

  return (line) => {
    let id = null;
    try {
      const message = JSON.parse(line);
      id = message.id ?? null;
      const command = Object.hasOwn(commands, message.cmd) ? commands[message.cmd] : null;
      if (!command) throw new Error(`no command ${message.cmd}`);
      pico.sync();
      pico.emit({ id, ok: true, ...command(message) });
      pico.schedule(0);
    } catch (error) {
      pico.emit({ id, error: error.message });
    }
  };
}
