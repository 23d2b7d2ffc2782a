from spi_chip import SPI, Chip, Pin
from test_queue_nor import behaves_like_nor, read

from mcp_gw.errors import ConfigError
from mcp_gw.queue.nor_spi import SpiNor
from mcp_gw.queue.ring import Ring


def device(chip, **options):
    return SpiNor(SPI(chip), Pin(chip), **options)


def refused(chip, why, **options):
    try:
        device(chip, **options)
    except ConfigError as e:
        assert why in str(e), e
        return
    raise AssertionError("it was taken")


def test_it_behaves_like_nor():
    behaves_like_nor(device(Chip(8192)))
    chip = Chip(65536)
    dev = device(chip, start=8192, length=8192)
    behaves_like_nor(dev)
    # Nothing outside.
    assert chip.array[:8192] == b"\xff" * 8192 and chip.array[16384:] == b"\xff" * 49152
    assert dev.id == b"\xef\x40\x14"


def test_a_chip_tells_its_size_or_it_is_told():
    assert device(Chip(1 << 17)).sectors == 32
    assert device(Chip(1 << 17), start=4096).sectors == 31
    refused(Chip(65536, table=False), "does not tell its size")
    behaves_like_nor(device(Chip(65536, table=False), size=65536))
    for start, length in ((0, 69632), (100, 4096), (4096, 100), (65536, None), (-4096, 4096)):
        refused(Chip(65536), "not in whole sectors", start=start, length=length)


def test_what_is_no_chip():
    chip = Chip(65536)
    chip.gone = True
    refused(chip, "look at its wires")
    refused(Chip(65536, id=b"\0\0\0"), "look at its wires")


def test_a_chip_that_sleeps_is_woken():
    chip = Chip(65536)
    chip.asleep = True
    assert read(device(chip), 0, 4) == b"\xff" * 4


def test_a_chip_that_was_erasing_is_waited_for():
    chip = Chip(65536, busy=(2, 40))
    dev = device(chip)
    dev.program(4096, b"abc")
    # The board is reset in the middle of an erase: the chip goes on, and hears nothing else.
    chip.busy = 30
    dev = device(chip)
    assert dev.id == chip.id and read(dev, 4096, 3) == b"abc"


def test_protection():
    for wp in (False, True):
        chip = Chip(65536)
        chip.status = 0x1C
        chip.wp = wp
        refused(chip, "protected against writing")
        if wp:
            refused(chip, "WP pin", unprotect=True)
        else:
            dev = device(chip, unprotect=True)
            dev.program(0, b"\x12")
            assert read(dev, 0, 1) == b"\x12"


def errno_of(call, *args):
    try:
        call(*args)
    except OSError as e:
        return e.args[0]


def test_runtime_errors_are_oserrors():
    chip = Chip(65536)
    dev = device(chip)
    chip.gone = True
    assert errno_of(dev.program, 0, b"a") == errno_of(dev.erase, 0) == 5
    chip.gone = False
    chip.stuck = True
    assert errno_of(dev.program, 0, b"a") == 110
    chip.stuck = False
    chip.busy = 0
    dev.program(1, b"b")
    assert read(dev, 1, 1) == b"b"


def test_nothing_is_written_without_an_enable():
    chip = Chip(65536)
    dev = device(chip)
    dev.program(0, bytes(600))
    dev.erase(0)
    codes = [code for code in chip.commands if code != 5]
    # Each program and erase right behind its own enable.
    for i, code in enumerate(codes):
        if code in (0x02, 0x20):
            assert codes[i - 1] == 0x06
    assert codes.count(0x02) == 3 and codes.count(0x20) == 1


class Sparse:
    """32 MB that take no RAM: all of it blank but one sector, at its end."""

    def __init__(self, size):
        self.at = size - 4096
        self.kept = bytearray(b"\xff" * 4096)

    def __getitem__(self, i):
        return self.kept[i - self.at] if i >= self.at else 0xFF

    def __setitem__(self, i, value):
        if isinstance(i, slice):
            assert i.start == self.at and i.stop == self.at + 4096
            self.kept[:] = value
        else:
            self.kept[i - self.at] = value


def test_addresses_beyond_16_mb():
    size = 1 << 25
    for four, codes in ((0x20, (0x12, 0x21)), (0x01, (0x02, 0x20)), (0x02, (0x02, 0x20))):
        chip = Chip(4096, four=four)
        chip.size = size
        chip.array = Sparse(size)
        chip._sfdp = chip._tables(four)
        dev = device(chip, start=size - 8192)
        dev.erase(1)
        dev.program(4096 + 10, b"\x5a")
        assert read(dev, 4096 + 9, 3) == b"\xff\x5a\xff"
        assert chip.array.kept[10] == 0x5A
        assert all(code in chip.commands for code in codes)
    chip = Chip(4096, four=0)
    chip.size = size
    chip._sfdp = chip._tables(0)
    refused(chip, "only the first 16 MB", start=size - 8192)
    assert device(chip, start=0, length=8192).sectors == 2


def test_a_ring_lives_on_it():
    chip = Chip(5 * 4096)
    ring = Ring(device(chip))
    ring.mount()
    handles = [ring.append(1, b"key", [bytes([n]) * 300]) for n in range(30)]
    for handle in handles[:20]:
        ring.ack(handle)
    ring = Ring(device(chip))
    ring.mount()
    assert [ring.payload(row[0])[0] for row in ring.records()] == list(range(20, 30))
