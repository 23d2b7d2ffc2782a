// The other end of the USB cable: enumerates the firmware's CDC-ACM device, moves the console's
// bytes in packets, and says "not now" (NAK) when there is nothing to move or nobody to take it.
//
// rp2040js's own host completes every armed OUT transfer at once with an empty packet, which is an
// interrupt every 10 us for ever, and takes IN packets whether or not anyone reads them. So its
// device controller is kept (registers, interrupts) and the bus side of it is replaced here, at the
// one place where the firmware hands over a buffer: DPRAMUpdated().

const EP0_IN_CONTROL = 0x80; // buffer control registers, IN and OUT alternating, 4 bytes each
const EP15_OUT_CONTROL = 0xfc;
const LENGTH = 0x3ff; // buffer control: bytes in the buffer
const AVAILABLE = 1 << 10; // ... owned by the controller
const STALL = 1 << 11;
const FULL = 1 << 15;
const HIGH = 16; // buffer 1's half of the register
const DOUBLE_BUFFERED = 1 << 30; // endpoint control
const BUFFER1_OFFSET = 64;

const REG_SOF_RD = 0x48;
const REG_INTE = 0x90;
const INT_DEV_SOF = 1 << 17;

const CONFIGURATION = 2; // descriptor types
const INTERFACE = 4;
const ENDPOINT = 5;
const CLASS_CDC_DATA = 10;
const DTR_RTS = 3;

const MAX_PACKET = 64;
// Full speed: 12 Mbit/s, with token, handshake and bit stuffing taken together.
const PACKET_NANOS = 10_000;
const BYTE_NANOS = 667;
const FRAME_NANOS = 1_000_000;
// Between control transfers, so that the firmware sees one end before the next begins.
const SETUP_NANOS = 50_000;

const setupPacket = (type, request, value, index, length) =>
  Uint8Array.of(type, request, value & 255, value >> 8, index & 255, index >> 8, length & 255, length >> 8);

// Endpoint numbers of the first CDC data interface, and the interface that controls it.
function findConsole(descriptors) {
  let data = false;
  let last = 0;
  const found = {};
  for (let i = 0; i + 2 <= descriptors.length && descriptors[i] >= 2; i += descriptors[i]) {
    const type = descriptors[i + 1];
    if (type === INTERFACE) {
      data = descriptors[i + 5] === CLASS_CDC_DATA && found.in === undefined;
      if (!data) last = descriptors[i + 2];
      else found.control = last;
    } else if (type === ENDPOINT && data) {
      const address = descriptors[i + 2];
      found[address & 0x80 ? 'in' : 'out'] = address & 0xf;
    }
  }
  return found.in === undefined || found.out === undefined ? null : found;
}

export class UsbHost {
  // mcu: RP2040. stream: {take(max) -> Uint8Array, pending, give(Uint8Array), canGive}, the console's
  // other side. onReady(): the console can be used. onPacket(direction, length, nanos): for tracing.
  constructor(mcu, stream, { onReady, onPacket }) {
    this.mcu = mcu;
    this.usb = mcu.usbCtrl;
    this.stream = stream;
    this.onReady = onReady;
    this.onPacket = onPacket;
    this.ready = false;
    this.lineState = 0;
    this.control = null; // the control transfer under way
    this.controls = []; // those that wait
    this.console = null; // {in, out, control}: endpoint numbers
    this.setupAlarm = mcu.clock.createAlarm(() => this.nextControl());
    this.armed = new Map(); // buffer control offset -> alarm, for each endpoint seen
    this.attach();
  }

  attach() {
    const { usb, mcu } = this;
    usb.DPRAMUpdated = (offset, value) => this.bufferControl(offset, value);
    usb.onUSBEnabled = () => usb.resetDevice();
    usb.onResetReceived = () => this.enumerate();
    // Start of frame: an interrupt each millisecond, but only while the firmware asks for it.
    const sof = mcu.clock.createAlarm(() => {
      sof.scheduled = false; // rp2040js leaves it set when an alarm fires
      usb.sofFrameNumber = (usb.sofFrameNumber + 1) & 0x7ff;
      usb.intRaw |= INT_DEV_SOF;
      usb.checkInterrupts();
      if (usb.intEnable & INT_DEV_SOF) sof.schedule(FRAME_NANOS);
    });
    const write = usb.writeUint32.bind(usb);
    const read = usb.readUint32.bind(usb);
    usb.writeUint32 = (offset, value) => {
      write(offset, value);
      if (offset === REG_INTE && value & INT_DEV_SOF && !sof.scheduled) sof.schedule(FRAME_NANOS);
    };
    usb.readUint32 = (offset) => {
      if (offset === REG_SOF_RD) {
        usb.intRaw &= ~INT_DEV_SOF;
        usb.checkInterrupts();
      }
      return read(offset);
    };
  }

  // --- control transfers -----------------------------------------------------------------------

  enumerate() {
    this.ready = false;
    this.control = null;
    this.controls = [];
    this.request(setupPacket(0x00, 5, 1, 0, 0)); // SET_ADDRESS
    this.request(setupPacket(0x80, 6, CONFIGURATION << 8, 0, 9), null, (head) => {
      const total = head[2] | (head[3] << 8);
      this.request(setupPacket(0x80, 6, CONFIGURATION << 8, 0, total), null, (descriptors) => {
        this.console = findConsole(descriptors);
        this.request(setupPacket(0x00, 9, 1, 0, 0), null, () => this.configured()); // SET_CONFIGURATION
      });
    });
  }

  configured() {
    if (!this.console) return; // a device without a console: nothing to do
    // 115200 baud, 1 stop bit, no parity, 8 bits: what a terminal would set. It changes nothing.
    const coding = Uint8Array.of(0x00, 0xc2, 0x01, 0x00, 0, 0, 8);
    this.request(setupPacket(0x21, 0x20, 0, this.console.control, coding.length), coding);
    this.ready = true;
    const wanted = this.lineState;
    this.lineState = 0;
    this.setLineState(wanted, () => this.onReady());
  }

  // A client opened (true) or closed the port. While closed the host does not poll for data.
  setOpen(open) {
    const state = open ? DTR_RTS : 0;
    if (!this.ready) this.lineState = state;
    else if (state !== this.lineState) this.setLineState(state);
  }

  setLineState(state, done) {
    this.lineState = state;
    this.request(setupPacket(0x21, 0x22, state, this.console.control, 0), null, done);
    this.kick();
  }

  request(setup, data = null, done = null) {
    this.controls.push({ setup, data, done, received: [], answered: false });
    if (!this.control) this.setupAlarm.schedule(SETUP_NANOS);
  }

  nextControl() {
    if (this.control) return;
    this.control = this.controls.shift() ?? null;
    if (this.control) this.usb.sendSetupPacket(this.control.setup);
  }

  endControl(received) {
    const { done } = this.control;
    this.control = null;
    done?.(received);
    this.setupAlarm.schedule(SETUP_NANOS);
  }

  // The device's packet on endpoint 0.
  controlIn(packet) {
    const control = this.control;
    if (!control) return;
    if (!(control.setup[0] & 0x80)) {
      this.endControl(control.received); // the empty packet that ends a write
      return;
    }
    control.received.push(...packet);
    const wanted = control.setup[6] | (control.setup[7] << 8);
    control.answered = packet.length < MAX_PACKET || control.received.length >= wanted;
  }

  // --- buffers the firmware hands to the controller ----------------------------------------------

  bufferControl(offset, value) {
    if (this.usb.hostMode || offset < EP0_IN_CONTROL || offset > EP15_OUT_CONTROL) return;
    let alarm = this.armed.get(offset);
    if (!alarm) {
      alarm = this.mcu.clock.createAlarm(() => this.complete(offset));
      this.armed.set(offset, alarm);
    }
    alarm.cancel();
    if (value & AVAILABLE) this.poll(offset);
    else if (value & STALL && offset < EP0_IN_CONTROL + 8 && this.control) {
      this.endControl(this.control.received); // refused: nothing we ask for is essential
    }
  }

  // Start the transfer if both sides are ready for it; otherwise it stays armed (the bus sees NAK).
  poll(offset) {
    const alarm = this.armed.get(offset);
    const value = this.mcu.usbDPRAMView.getUint32(offset, true);
    if (!alarm || alarm.scheduled || !(value & AVAILABLE)) return;
    const endpoint = (offset - EP0_IN_CONTROL) >> 3;
    const out = (offset & 4) !== 0;
    let length = value & LENGTH;
    if (endpoint !== 0) {
      if (!this.console || endpoint !== (out ? this.console.out : this.console.in)) return;
      if (out ? !this.stream.pending : !this.stream.canGive || !this.lineState) return;
      if (out) length = Math.min(length, this.stream.pending);
    }
    alarm.schedule(PACKET_NANOS + length * BYTE_NANOS);
  }

  // The host has data, or room: see whether that lets the console's transfers go on.
  kick() {
    if (!this.ready) return;
    this.poll(EP0_IN_CONTROL + 8 * this.console.in);
    this.poll(EP0_IN_CONTROL + 8 * this.console.out + 4);
  }

  complete(offset) {
    const alarm = this.armed.get(offset);
    alarm.scheduled = false;
    const endpoint = (offset - EP0_IN_CONTROL) >> 3;
    if (offset & 4) this.completeOut(offset, endpoint);
    else this.completeIn(offset, endpoint);
  }

  completeOut(offset, endpoint) {
    const { usb, mcu } = this;
    const value = mcu.usbDPRAMView.getUint32(offset, true);
    let data = new Uint8Array(0);
    if (endpoint !== 0) data = this.stream.take(value & LENGTH);
    else if (this.control?.data) data = this.control.data;
    mcu.usbDPRAM.set(data, usb.getEndpointBufferOffset(endpoint, true));
    const done = (value & ~(AVAILABLE | LENGTH)) | FULL | data.length;
    mcu.usbDPRAMView.setUint32(offset, done, true);
    usb.indicateBufferReady(endpoint, true);
    if (endpoint !== 0) this.onPacket?.('out', data, mcu.clock.nanos);
    else if (this.control?.answered) this.endControl(this.control.received);
  }

  completeIn(offset, endpoint) {
    const { usb, mcu } = this;
    let value = mcu.usbDPRAMView.getUint32(offset, true);
    const at = usb.getEndpointBufferOffset(endpoint, false);
    const packets = [mcu.usbDPRAM.slice(at, at + (value & LENGTH))];
    value &= ~(AVAILABLE | FULL);
    const doubled = endpoint !== 0 && usb.readEndpointControlReg(endpoint, false) & DOUBLE_BUFFERED;
    if (doubled && (value >>> HIGH) & AVAILABLE) {
      const second = at + BUFFER1_OFFSET;
      packets.push(mcu.usbDPRAM.slice(second, second + ((value >>> HIGH) & LENGTH)));
      value &= ~((AVAILABLE | FULL) << HIGH);
    }
    mcu.usbDPRAMView.setUint32(offset, value, true);
    usb.indicateBufferReady(endpoint, false);
    for (const packet of packets) {
      if (endpoint === 0) this.controlIn(packet);
      else {
        this.stream.give(packet);
        this.onPacket?.('in', packet, mcu.clock.nanos);
      }
    }
  }
}
