// The Pico's NOR flash: an image in memory, written through to a file, and the power cuts that can
// tear an operation on it.
//
// An operation is what the chip does atomically as far as software can tell: the erase of one
// 4096-byte sector, or the program of one 256-byte page. Programming only clears bits; erasing sets
// all of a sector's. A cut is armed for the n-th operation from now and leaves that operation as one
// of these:
//   prefix    its first BYTES bytes are done, the rest is as before (default: half)
//   bits      of the bits that were to change, a random subset has
//   marginal  an erase: the sector reads as erased, but its cells are weak; until it is erased again,
//             whatever is programmed there loses more bits than it should, at random.
//             A program: nothing of it is done

import fs from 'node:fs';

export const SECTOR = 4096;
export const PAGE = 256;
const ERASE_NANOS = 45_000_000; // W25Q16JV, typical
const PROGRAM_NANOS = 400_000;
const UF2_MAGIC = [0x0a324655, 0x9e5d5157, 0x0ab16f30];
const UF2_NOT_FLASH = 1;
const XIP_BASE = 0x10000000;

// Small seeded generator (splitmix32): the same seed gives the same torn bits everywhere.
export function randomFrom(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x9e3779b9) >>> 0;
    let z = state;
    z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
    return (z ^ (z >>> 15)) >>> 0;
  };
}

export class Flash {
  // size: bytes. file: where the image is kept, or null for none.
  // onCut(details): the power is gone; must not return.
  constructor(size, file, onCut) {
    this.bytes = new Uint8Array(size).fill(0xff);
    this.onCut = onCut;
    this.operations = 0; // since this process started
    this.cut = null;
    this.weak = new Set(); // sectors whose erase was cut in marginal mode
    this.fd = -1;
    this.weakFile = file && `${file}.weak`;
    if (file) this.open(file, size);
  }

  open(file, size) {
    this.fd = fs.openSync(file, fs.existsSync(file) ? 'r+' : 'w+');
    const length = fs.fstatSync(this.fd).size;
    if (length > size) throw new Error(`${file} holds ${length} bytes, the flash only ${size}`);
    fs.readSync(this.fd, this.bytes, 0, length, 0);
    if (length < size) this.save(length, size - length);
    if (length === 0) fs.rmSync(this.weakFile, { force: true }); // of an image that is gone
    if (fs.existsSync(this.weakFile)) {
      this.weak = new Set(JSON.parse(fs.readFileSync(this.weakFile, 'utf8')));
    }
  }

  // Write a UF2 file as its boot loader does: the sectors it touches are erased first.
  load(file) {
    const uf2 = fs.readFileSync(file);
    const erased = new Set();
    let blocks = 0;
    for (let at = 0; at + 512 <= uf2.length; at += 512) {
      const word = (offset) => uf2.readUInt32LE(at + offset);
      if (word(0) !== UF2_MAGIC[0] || word(4) !== UF2_MAGIC[1] || word(508) !== UF2_MAGIC[2]) {
        throw new Error(`${file} is not a UF2 file (block ${at / 512})`);
      }
      if (word(8) & UF2_NOT_FLASH) continue;
      const address = word(12) - XIP_BASE;
      const length = word(16);
      if (address < 0 || address + length > this.bytes.length || length > 476) {
        throw new Error(`${file} does not fit this flash (block ${at / 512})`);
      }
      const sector = address - (address % SECTOR);
      if (!erased.has(sector)) this.bytes.fill(0xff, sector, sector + SECTOR);
      erased.add(sector);
      this.bytes.set(uf2.subarray(at + 32, at + 32 + length), address);
      blocks++;
    }
    if (!blocks) throw new Error(`${file} is not a UF2 file`);
    for (const sector of erased) this.save(sector, SECTOR);
  }

  save(at, length) {
    if (this.fd >= 0) fs.writeSync(this.fd, this.bytes, at, length, at);
  }

  // Cut the power in the n-th operation from now. bytes: only for prefix.
  arm({ n, bytes = null, mode = 'prefix', seed = 0 }) {
    if (!Number.isInteger(n) || n < 1) throw new Error('cut: n must be 1 or more');
    if (!['prefix', 'bits', 'marginal'].includes(mode)) throw new Error(`cut: no mode ${mode}`);
    this.cut = { at: this.operations + n, bytes, mode, seed };
  }

  // Erase [at, at + length), whole sectors. Returns the time it takes, in nanoseconds.
  erase(at, length) {
    let nanos = 0;
    for (let end = at + length; at < end; at += SECTOR, nanos += ERASE_NANOS) {
      const target = new Uint8Array(SECTOR).fill(0xff);
      if (this.strikes()) this.tear('erase', at, target);
      this.bytes.set(target, at);
      this.save(at, SECTOR);
      if (this.weak.delete(at)) this.saveWeak();
    }
    return nanos;
  }

  // Program data at `at`, page by page. Returns the time it takes, in nanoseconds.
  program(at, data) {
    let nanos = 0;
    for (let done = 0; done < data.length; done += PAGE, nanos += PROGRAM_NANOS) {
      const page = data.subarray(done, done + PAGE);
      const target = page.map((byte, i) => byte & this.bytes[at + done + i]);
      if (this.strikes()) this.tear('program', at + done, target);
      this.bytes.set(target, at + done);
      this.wear(at + done, page.length);
      this.save(at + done, page.length);
    }
    return nanos;
  }

  strikes() {
    this.operations++;
    return this.cut !== null && this.operations === this.cut.at;
  }

  // Leave the operation that would have made `target` of the bytes at `at` half done, and stop.
  tear(kind, at, target) {
    const { mode, seed } = this.cut;
    const before = this.bytes.subarray(at, at + target.length);
    let bytes = null;
    if (mode === 'prefix') {
      bytes = Math.min(this.cut.bytes ?? target.length >> 1, target.length);
      before.set(target.subarray(0, bytes));
    } else if (mode === 'bits') {
      const random = randomFrom(seed);
      for (let i = 0; i < target.length; i++) {
        before[i] ^= (before[i] ^ target[i]) & (random() >>> 13);
      }
    } else if (kind === 'erase') {
      before.set(target);
      this.weak.add(at);
      this.saveWeak();
    }
    this.save(at, target.length);
    this.onCut({ operation: this.operations, kind, address: at, mode, bytes, seed });
  }

  // Cells of a weak sector lose about one bit in 16 of those meant to stay set.
  wear(at, length) {
    const sector = at - (at % SECTOR);
    if (!this.weak.has(sector)) return;
    const random = randomFrom(at ^ this.operations);
    for (let i = at; i < at + length; i++) {
      this.bytes[i] &= ~(random() & random() & random() & random()) & 0xff;
    }
  }

  saveWeak() {
    if (this.weakFile) fs.writeFileSync(this.weakFile, JSON.stringify([...this.weak]));
  }
}
