// The console's bytes outside the board: a socket whose number the parent passed on (a pty's other
// side), or a TCP port that any client may connect to. Both directions in bulk, both with
// back-pressure: what the client does not read is not taken from the board.

import net from 'node:net';

const HIGH_WATER = 16384; // bytes from the client that wait for the board before we stop reading

export class ConsolePort {
  // onInput(): bytes have come. onRoom(): the client reads again. onOpen(bool): it came or went.
  constructor({ onInput, onRoom, onOpen }) {
    this.onInput = onInput;
    this.onRoom = onRoom;
    this.onOpen = onOpen;
    this.socket = null;
    this.chunks = []; // from the client
    this.pending = 0; // bytes in them
    this.out = []; // packets from the board since the last flush
    this.full = false;
    this.sent = 0; // bytes the board gave and took, in all
    this.received = 0;
  }

  // A connected socket inherited from the parent process.
  inherit(fd) {
    this.connect(new net.Socket({ fd, readable: true, writable: true }));
  }

  // Serve one client at a time on a TCP port of this machine; resolves to the port's number.
  listen(port) {
    const server = net.createServer((socket) => {
      this.socket?.destroy();
      socket.setNoDelay(true);
      this.clear();
      this.connect(socket);
      this.onOpen(true);
      socket.on('close', () => {
        if (this.socket !== socket) return;
        this.socket = null;
        this.full = false;
        this.onOpen(false);
      });
    });
    return new Promise((resolve, reject) => {
      server.on('error', reject);
      server.listen(port, '127.0.0.1', () => resolve(server.address().port));
    });
  }

  connect(socket) {
    this.socket = socket;
    this.full = false;
    socket.on('error', () => {}); // 'close' follows
    socket.on('data', (chunk) => {
      this.chunks.push(chunk);
      this.pending += chunk.length;
      if (this.pending > HIGH_WATER) socket.pause();
      this.onInput();
    });
    socket.on('drain', () => {
      this.full = false;
      this.onRoom();
    });
  }

  // Forget what the client sent and the board has not taken.
  clear() {
    this.chunks = [];
    this.pending = 0;
    this.socket?.resume();
  }

  // Break the connection of a TCP client.
  hangUp() {
    this.socket?.destroy();
  }

  take(max) {
    const parts = [];
    let taken = 0;
    while (taken < max && this.chunks.length) {
      const part = this.chunks[0].subarray(0, max - taken);
      parts.push(part);
      taken += part.length;
      if (part.length === this.chunks[0].length) this.chunks.shift();
      else this.chunks[0] = this.chunks[0].subarray(part.length);
    }
    this.pending -= taken;
    this.received += taken;
    if (this.pending <= HIGH_WATER / 4 && this.socket?.isPaused()) this.socket.resume();
    return Buffer.concat(parts);
  }

  get canGive() {
    return this.socket !== null && !this.full;
  }

  give(packet) {
    this.out.push(packet);
    this.sent += packet.length;
    if (this.out.length >= 256) this.flush();
  }

  // Send what the board gave since the last time, in one write.
  flush() {
    if (!this.out.length) return;
    const data = Buffer.concat(this.out);
    this.out = [];
    if (this.socket && !this.socket.write(data)) this.full = true;
  }
}
