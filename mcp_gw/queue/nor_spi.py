"""External SPI NOR flash for the queue, over machine.SPI: for boards whose own flash holds their
program and nothing else.

    from machine import SPI, Pin
    gw.queue(SpiNor(SPI(0, 10_000_000), Pin(17)))

Commands and tables as JEDEC has them: JESD216 (SFDP), and what chips of all makers have in common.
"""

import time

# Absolute, so that it can be deployed by itself where the firmware comes without it.
from mcp_gw.compat import const, ticks_diff, ticks_ms
from mcp_gw.errors import ConfigError
from mcp_gw.queue.nor import Nor

_SECTOR = const(4096)
_READ = const(0x0B)  # "fast read": one dummy byte behind the address, at any clock
_PROGRAM = const(0x02)
_ERASE = const(0x20)
# The same with four bytes of address.
_READ4 = const(0x0C)
_PROGRAM4 = const(0x12)
_ERASE4 = const(0x21)
_WRITE_ENABLE = const(0x06)
_WRITE_DISABLE = const(0x04)
_STATUS = const(0x05)
_WRITE_STATUS = const(0x01)
_UNLOCK = const(0x98)
_ID = const(0x9F)
_SFDP = const(0x5A)
_WAKE = const(0xAB)
_FOUR_BYTES = const(0xB7)
_BUSY = const(1)
_ENABLED = const(2)
_PROTECTED = const(0x1C)  # BP0 to BP2
_BELOW_4 = const(0x1000000)  # what three bytes can address
_WAKE_S = 0.0001
# Longest times that makers give, and some more.
_PROGRAM_MS = const(100)
_ERASE_MS = const(5000)
_EIO = const(5)
_ETIMEDOUT = const(110)


class SpiNor(Nor):
    """The bytes from `start` on, `length` of them (None: all the rest), of the chip at `spi`, a
    machine.SPI of mode 0 or 3, with `cs`, a machine.Pin, for its chip select. Both are multiples
    of 4096.

    size: bytes of the chip, for one that has no table that tells (SFDP). unprotect: a chip that
    is protected against writing is set free, all of it.

    A program takes 1 ms or so, an erase 50 ms and more; the board does nothing else meanwhile.
    Raises ConfigError for what is no such chip; afterwards OSError.
    """

    def __init__(self, spi, cs, start=0, length=None, size=None, unprotect=False):
        self._spi = spi
        self._cs = cs
        cs.init(cs.OUT, value=1)
        self._head = bytearray(6)
        self._one = bytearray(1)
        self._width = 3  # bytes of an address
        # A chip that sleeps takes no other command. One that was erasing as the board was reset
        # has not noticed.
        self._command(_WAKE)
        time.sleep(_WAKE_S)
        if self._status() != 0xFF:  # there is one
            self._wait(_ERASE_MS)
        self.id = id = self._ask(bytes((_ID,)), 3)
        if id in (b"\0\0\0", b"\xff\xff\xff"):
            raise ConfigError("no flash chip answers over SPI: look at its wires and its power")
        self._ops = [_READ, _PROGRAM, _ERASE]
        table = self._table()
        size = self._size(table) or size
        if not size:
            raise ConfigError("this flash chip does not tell its size: say it, size=")
        if length is None:
            length = size - start
        if (
            start % _SECTOR
            or length % _SECTOR
            or start < 0
            or length <= 0
            or start + length > size
        ):
            raise ConfigError(
                "a queue of %d bytes at %d is not in a chip of %d, or not in whole sectors of 4096"
                % (length, start, size)
            )
        super().__init__(length // _SECTOR)
        self._start = start
        if start + length > _BELOW_4:
            self._beyond(table)
        status = self._status()
        if status & _PROTECTED:
            if not unprotect:
                raise ConfigError(
                    "the flash chip is protected against writing: SpiNor(unprotect=True) ends that"
                )
            self._unprotect()

    def read(self, addr, buf):
        self._address(self._ops[0], self._start + addr)
        n = self._width + 1
        head = self._head
        head[n] = 0  # the dummy
        self._cs(0)
        try:
            self._spi.write(memoryview(head)[: n + 1])
            self._spi.readinto(buf)
        finally:
            self._cs(1)

    def _program_page(self, addr, data):
        self._enable()
        self._address(self._ops[1], self._start + addr)
        self._cs(0)
        try:
            self._spi.write(memoryview(self._head)[: self._width + 1])
            self._spi.write(data)
        finally:
            self._cs(1)
        self._wait(_PROGRAM_MS)

    def _erase(self, sector):
        self._enable()
        self._address(self._ops[2], self._start + sector * _SECTOR)
        self._write(memoryview(self._head)[: self._width + 1])
        self._wait(_ERASE_MS)

    # Commands.

    def _write(self, data):
        self._cs(0)
        try:
            self._spi.write(data)
        finally:
            self._cs(1)

    def _command(self, code):
        self._one[0] = code
        self._write(self._one)

    def _ask(self, command, n):
        buf = bytearray(n)
        self._cs(0)
        try:
            self._spi.write(command)
            self._spi.readinto(buf)
        finally:
            self._cs(1)
        return bytes(buf)

    def _address(self, code, addr):
        head = self._head
        head[0] = code
        n = self._width
        for i in range(n):
            head[n - i] = addr & 0xFF
            addr >>= 8

    def _status(self):
        one = self._one
        one[0] = _STATUS
        self._cs(0)
        try:
            self._spi.write(one)
            self._spi.readinto(one)
        finally:
            self._cs(1)
        return one[0]

    def _enable(self):
        self._command(_WRITE_ENABLE)
        if self._status() & (_ENABLED | _BUSY) != _ENABLED:
            raise OSError(_EIO)  # unplugged, or protected by its pin

    def _wait(self, most_ms):
        """Until the chip is no longer busy."""
        began = ticks_ms()
        while self._status() & _BUSY:
            if ticks_diff(ticks_ms(), began) > most_ms:
                raise OSError(_ETIMEDOUT)

    def _unprotect(self):
        # Bits for blocks, which last, and locks of sectors, which some chips set at power-on.
        self._enable()
        self._write(bytes((_WRITE_STATUS, 0)))
        self._wait(_PROGRAM_MS)
        self._command(_WRITE_ENABLE)
        self._command(_UNLOCK)
        self._command(_WRITE_DISABLE)
        if self._status() & _PROTECTED:
            raise ConfigError("the flash chip stays protected: its WP pin must be high")

    # Tables (JESD216).

    def _sfdp(self, addr, n):
        return self._ask(bytes((_SFDP, addr >> 16, addr >> 8 & 0xFF, addr & 0xFF, 0)), n)

    def _table(self):
        """The basic parameters, None where there are none."""
        head = self._sfdp(0, 16)
        if head[:4] != b"SFDP" or head[8] != 0 or head[15] != 0xFF:
            return None
        return self._sfdp(head[12] | head[13] << 8 | head[14] << 16, 4 * min(head[11], 20))

    def _size(self, table):
        """Bytes of the chip, None: not known. Takes the code of the erase."""
        if not table or len(table) < 36:
            return None
        if table[0] & 3 == 1:
            self._ops[2] = table[1]
        else:
            for at in (28, 30, 32, 34):
                if table[at] == 12:  # its size: 2 to the power of it
                    self._ops[2] = table[at + 1]
                    break
            else:
                raise ConfigError("this flash chip has no sectors of 4096 bytes")
        density = int.from_bytes(table[4:8], "little")
        if density >> 31:
            return 1 << (density & 0x7FFFFFFF) - 3
        return (density + 1) // 8

    def _beyond(self, table):
        """Address what three bytes cannot."""
        ways = table[63] if table and len(table) >= 64 else 0
        if ways & 0x20:
            self._ops = [_READ4, _PROGRAM4, _ERASE4]
        elif ways & 0x43:
            if ways & 2:
                self._command(_WRITE_ENABLE)
            if ways & 3:
                self._command(_FOUR_BYTES)
        else:
            raise ConfigError("of this flash chip only the first 16 MB can be used: length=")
        self._width = 4
