"""A NOR device that loses power in the middle of an operation, for tests of whatever uses one.

What a cut leaves behind goes beyond "some prefix was written": any of the bits to be changed may
have changed, and some may be weak, that is read differently from one time to the next until they
are programmed or erased again.
"""

from ..compat import const
from .nor import Nor

# How far a cut operation got. Programs: nothing, a prefix of the bytes, everything, a random
# subset of the bits, a subset with some of the bits weak (or everything but a few weak bits, or
# nothing but a few), nothing to be seen but all bits weak.
# Erases: nothing, the sector's first or its last bytes, everything, a subset of the bits, all bits
# programmed first (as chips do) and some erased, reads erased but weak.
NOTHING = const(0)
PREFIX = const(1)
ALL = const(2)
SUBSET = const(3)
MIXED = const(4)
WEAK = const(5)
MODES = (NOTHING, PREFIX, ALL, SUBSET, MIXED, WEAK)


class PowerCut(Exception):
    """Power is gone; every access fails until power_on()."""


class Rng:
    """xorshift32: the same numbers from the same seed everywhere."""

    def __init__(self, seed):
        self._state = (seed * 2654435761 + 1) & 0xFFFFFFFF or 1
        for _ in range(8):
            self.word()

    def word(self):
        x = self._state
        x ^= x << 13 & 0xFFFFFFFF
        x ^= x >> 17
        x ^= x << 5 & 0xFFFFFFFF
        self._state = x
        return x

    def below(self, n):
        return self.word() % n

    def bits(self, n, density):
        """n random bytes as an int. density 0: one bit set, 1 to 7: about that many eighths, 8:
        all but one bit set.
        """
        if density == 0:
            return 1 << self.below(8 * n)
        if density == 8:
            return (1 << 8 * n) - 1 ^ 1 << self.below(8 * n)
        total = 0
        # Each step halves what is missing: binary digits of density/8, least significant first.
        for digit in (density & 1, density >> 1 & 1, density >> 2):
            step = 0
            for _ in range((n + 3) // 4):
                step = step << 32 | self.word()
            step &= (1 << 8 * n) - 1
            total = total | step if digit else total & step
        return total


class FaultNor(Nor):
    """Passes everything on to `inner` and cuts the power at operation number cut_at (0 is the
    next).

    Each page program and each sector erase is an operation. flicker: a weak bit may read
    differently at each read, else it keeps its value until the next power_on().

    Worn cells, to be set at any time: `stuck` is a dictionary, address: (mask of the bits, what
    they read as, whatever is programmed or erased); `unreadable` a list of (start, end) of
    addresses where reading is an OSError.
    """

    def __init__(self, inner, seed=0):
        super().__init__(inner.sectors)
        self.sector_size = inner.sector_size
        self.page_size = inner.page_size
        self.inner = inner
        self.rng = Rng(seed)
        self.cut_at = -1
        self.mode = NOTHING
        self.length = None
        self.flicker = False
        self.off = False
        self.operations = self.programs = self.erases = self.programmed = 0
        # address: mask of its weak bits (1 in the image); the same for this boot's readings of
        # them.
        self.weak = {}
        self.reads_zero = {}
        # All weak bits are from the first to the second address.
        self._weak_start = self._weak_end = 0
        self.stuck = {}
        self.unreadable = []

    @property
    def view(self):
        """The flash's memory, as long as it reads as it is."""
        if self.weak or self.off or self.stuck or self.unreadable:
            return None
        return self.inner.view

    def cut(self, at, mode, flicker=False, length=None):
        """Arrange for a cut at the at-th operation from now on; length: of a program's PREFIX."""
        self.cut_at = self.operations + at
        self.length = length
        self.mode = mode
        self.flicker = flicker

    def power_on(self):
        self.off = False
        self.cut_at = -1
        self.reads_zero = {}
        for addr in self.weak:
            self.reads_zero[addr] = self.rng.word() & 0xFF

    def flip(self, addr, bit):
        """One bit of the array changes by itself."""
        byte = bytearray(1)
        self.inner.read(addr, byte)
        byte[0] ^= 1 << bit
        self._store(addr, byte)

    def weaken(self, addr, mask):
        """Of one byte the bits of mask that are ones may read as zeros from now on."""
        byte = bytearray(1)
        self.inner.read(addr, byte)
        self._weaken(addr, bytes((byte[0] & mask,)))

    def read(self, addr, buf):
        if self.off:
            raise PowerCut
        for start, end in self.unreadable:
            if addr < end and start < addr + len(buf):
                raise OSError(5)
        self.inner.read(addr, buf)
        for at, (mask, value) in self.stuck.items():
            if addr <= at < addr + len(buf):
                buf[at - addr] = buf[at - addr] & ~mask & 0xFF | value & mask
        end = addr + len(buf)
        weak = self.weak
        if weak and addr <= self._weak_end and end > self._weak_start:
            # The shorter of the two ways to find those that are read.
            for at in weak if len(weak) < end - addr else range(addr, end):
                if addr <= at < end and at in weak:
                    zero = self.rng.word() if self.flicker else self.reads_zero.get(at, 0)
                    buf[at - addr] &= ~(weak[at] & zero) & 0xFF

    def _program_page(self, addr, data):
        cut = self._operation()
        self.programs += 1
        self.programmed += len(data)
        if not cut:
            self._program(addr, data)
            return
        n = len(data)
        old = bytearray(n)
        self.inner.read(addr, old)
        old = int.from_bytes(old, "little")
        clear = old & ~int.from_bytes(data, "little")
        weak = 0
        if self.mode == NOTHING:
            clear = 0
        elif self.mode == PREFIX:
            length = self.rng.below(n + 1) if self.length is None else min(n, self.length)
            clear &= (1 << 8 * length) - 1
        elif self.mode == SUBSET:
            clear &= self.rng.bits(n, self.rng.below(9))
        elif self.mode == MIXED:
            kind = self.rng.below(3)
            if kind == 0:
                # All but finished.
                for _ in range(8):
                    weak |= clear & self.rng.bits(n, 0)
            elif kind == 1:
                # Hardly begun.
                for _ in range(1 + self.rng.below(4)):
                    weak |= self._one_of(clear)
                clear = 0
            else:
                weak = clear & self.rng.bits(n, self.rng.below(9))
                clear &= weak | self.rng.bits(n, self.rng.below(9))
            clear &= ~weak
        elif self.mode == WEAK:
            weak = clear
            clear = 0
        self._program(addr, (old & ~clear).to_bytes(n, "little"))
        self._weaken(addr, weak.to_bytes(n, "little"))
        self.off = True
        raise PowerCut

    def _erase(self, sector):
        cut = self._operation()
        self.erases += 1
        size = self.sector_size
        addr = sector * size
        if not cut:
            self._set_sector(sector, None)
            return
        old = bytearray(size)
        self.inner.read(addr, old)
        new = int.from_bytes(old, "little")
        blank = (1 << 8 * size) - 1
        weak = 0
        if self.mode == PREFIX:
            part = (1 << 8 * self.rng.below(size + 1)) - 1
            new |= part if self.rng.below(2) else blank ^ part
        elif self.mode == ALL:
            new = blank
        elif self.mode == SUBSET:
            new |= self._some_bytes(size) or self.rng.bits(size, self.rng.below(9))
        elif self.mode == MIXED:
            new = self.rng.bits(size, self.rng.below(9))
            weak = new & self.rng.bits(size, 1)
        elif self.mode == WEAK:
            weak = blank & ~new
            new = blank
        self._set_sector(sector, new.to_bytes(size, "little"))
        self._weaken(addr, weak.to_bytes(size, "little"))
        self.off = True
        raise PowerCut

    def _one_of(self, bits):
        places = [i for i in range(bits.bit_length()) if bits >> i & 1]
        return 1 << places[self.rng.below(len(places))] if places else 0

    def _some_bytes(self, size):
        # Every other time whole bytes, one in 16: few are enough to bring back a dead record.
        if self.rng.below(2):
            return 0
        masks = bytearray(size)
        for _ in range(size // 16):
            masks[self.rng.below(size)] = 0xFF
        return int.from_bytes(masks, "little")

    def _operation(self):
        if self.off:
            raise PowerCut
        self.operations += 1
        return self.operations - 1 == self.cut_at

    def _weaken(self, addr, masks):
        if not self.weak:
            self._weak_start = addr
            self._weak_end = 0
        self._weak_start = min(self._weak_start, addr)
        self._weak_end = max(self._weak_end, addr + len(masks))
        for mask in masks:
            if mask:
                self.weak[addr] = self.weak.get(addr, 0) | mask
            addr += 1

    def _program(self, addr, data):
        self.inner.program(addr, data)
        if self.weak:
            for at in list(self.weak):
                if addr <= at < addr + len(data):
                    self._mend(at, data[at - addr])

    def _mend(self, at, keep):
        # Weak bits that were programmed now are solid.
        self.weak[at] &= keep
        if not self.weak[at]:
            del self.weak[at]

    def _set_sector(self, sector, data):
        size = self.sector_size
        for at in list(self.weak):
            if at // size == sector:
                del self.weak[at]
        self.inner.erase(sector)
        if data is not None:
            self.inner.program(sector * size, data)

    def _store(self, addr, byte):
        sector = addr // self.sector_size
        whole = bytearray(self.sector_size)
        self.inner.read(sector * self.sector_size, whole)
        whole[addr % self.sector_size] = byte[0]
        self.inner.erase(sector)
        self.inner.program(sector * self.sector_size, whole)
