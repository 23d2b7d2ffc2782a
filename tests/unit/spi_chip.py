"""A NOR flash chip on SPI, bit by bit as JEDEC's command set has it, and the machine.SPI and
machine.Pin that lead to it."""


class Chip:
    """size: bytes; id: its three; busy: status reads that a program and an erase take. table:
    whether it has SFDP; four: its ways to longer addresses (byte 63 of the basic table).

    It is as strict as a chip: without write enable nothing happens, a program wraps in its page
    and clears bits only, while busy only the status is read, asleep only the wake-up is heard.
    """

    def __init__(self, size, id=b"\xef\x40\x14", busy=(2, 9), table=True, four=0):
        self.array = bytearray(b"\xff" * size)
        self.size = size
        self.id = id
        self.busy_reads = busy
        self.busy = 0
        self.status = 0
        self.asleep = False
        self.stuck = False  # never ready again
        self.gone = False  # unplugged
        self.wp = False  # its WP pin is low: protection bits stay
        self.protected_at_power_on = False
        self.four = four
        self.width = 4 if four & 0x40 else 3
        self.commands = []
        self._in = None
        self._sfdp = self._tables(four) if table else b"\xff" * 256

    def _tables(self, four):
        basic = bytearray(64)
        basic[0] = 0xE5  # 4 KB erase
        basic[1] = 0x20
        bits = 8 * self.size
        basic[4:8] = (bits - 1).to_bytes(4, "little")
        basic[28:32] = bytes((12, 0x20, 15, 0x52))
        basic[40] = 0x80  # pages of 2**8
        basic[63] = four
        head = b"SFDP" + bytes((6, 1, 0, 0xFF)) + bytes((0, 6, 1, 16, 0x30, 0, 0, 0xFF))
        return head + b"\xff" * (0x30 - len(head)) + bytes(basic)

    def select(self, on):
        if on:
            self._in = bytearray()
            return
        data, self._in = self._in, None
        if data and not self.gone:
            self._end(data)

    def byte(self, value):
        """One byte in each direction."""
        if self._in is None or self.gone:
            return 0xFF
        self._in.append(value)
        return self._out(self._in)

    def _out(self, data):
        """What the chip drives while the last of `data` comes in."""
        code = data[0]
        n = len(data)
        if code == 0x05:
            if n == 1:
                return 0xFF
            self.commands.append(5)
            if self.busy and not self.stuck:
                self.busy -= 1
            return self.status | (1 if self.busy else 0)
        if self.busy or self.asleep:
            return 0xFF
        if code == 0x9F:
            return self.id[n - 2] if 2 <= n <= 4 else 0xFF
        if code == 0x5A:
            at = int.from_bytes(data[1:4], "big") + n - 6
            return self._sfdp[at] if n > 5 and at < len(self._sfdp) else 0xFF
        width = 4 if code == 0x0C else self.width
        if code in (0x0B, 0x0C) and n > width + 2:
            at = int.from_bytes(data[1 : 1 + width], "big") + n - width - 3
            return self.array[at % self.size]
        return 0xFF

    def _end(self, data):
        """Chip select has gone up behind a command."""
        code = data[0]
        if code != 5:
            self.commands.append(code)
        if self.asleep:
            self.asleep = code != 0xAB
            return
        if self.busy:
            return
        enabled = self.status & 2
        width = 4 if code in (0x12, 0x21) else self.width
        at = int.from_bytes(data[1 : 1 + width], "big")
        if code == 0x06 and len(data) == 1:
            self.status |= 2
        elif code == 0x04:
            self.status &= ~2
        elif code == 0xB9:
            self.asleep = True
        elif code == 0xB7 and self.four & 3 and (enabled or not self.four & 2):
            self.width = 4
        elif enabled and code == 0x01 and len(data) == 2:
            if not self.wp:
                self.status = data[1] & 0x1C
            self._work(0)
        elif enabled and code in (0x02, 0x12) and len(data) > width + 1:
            if not self.status & 0x1C:
                self._program(at % self.size, data[width + 1 :])
            self._work(0)
        elif enabled and code in (0x20, 0x21) and len(data) == width + 1:
            if not self.status & 0x1C:
                at = at % self.size & ~4095
                self.array[at : at + 4096] = b"\xff" * 4096
            self._work(1)

    def _program(self, at, data):
        page = at & ~255
        for value in data[-256:]:
            self.array[page | at & 255] &= value
            at += 1

    def _work(self, which):
        self.busy = self.busy_reads[which]
        self.status &= ~2


class Pin:
    """machine.Pin, as the chip select of a Chip."""

    OUT = 1

    def __init__(self, chip):
        self._chip = chip
        self._level = 0

    def init(self, mode, value):
        assert mode == self.OUT
        self(value)

    def __call__(self, value):
        if value != self._level:
            self._level = value
            self._chip.select(not value)


class SPI:
    """machine.SPI."""

    def __init__(self, chip):
        self._chip = chip

    def write(self, data):
        for value in memoryview(data):
            self._chip.byte(value)

    def readinto(self, buf, write=0):
        for i in range(len(buf)):
            buf[i] = self._chip.byte(write)
