"""Put files into a board's ROM file system, where it uses them in place: an image as a whole,
sector by sector, only those that differ.

The first sector is erased before anything else, and the few bytes that make it a file system are
written after everything else: what a power cut leaves is the old image, none or the new one.
"""

import hashlib
from binascii import b2a_base64
from dataclasses import dataclass, field

from . import UserError, romfs
from .remote import CHUNK

_ERASED = b"\xff"
_HEAD = 8  # bytes without which there is no file system: what romfs.build() begins with
_PAGE = 256  # what flash programs at once, at most
_DIGEST = 16  # hexadecimal digits of a sector's SHA-256; the whole image is compared in the end
_AT_ONCE = 32  # sectors in one question

# Runs on the board. _d: the device, or a negative number; _b: one sector. _h: SHA-256 in hex of
# bytes of the device.
_ON_BOARD = """
import vfs, hashlib
from binascii import a2b_base64, hexlify
_d = vfs.rom_ioctl(2, 0) if hasattr(vfs, 'rom_ioctl') else -1
def _h(at, end):
    s = hashlib.sha256(); m = memoryview(_d)
    while at < end:
        n = min(at + 4096, end)
        s.update(m[at:n]); at = n
    return hexlify(s.digest()).decode()
def _gone():
    try: vfs.umount('/rom')
    except OSError: pass
"""
# Writing at an offset does not erase, and programming bits that are set changes nothing.
_FIRST_SECTOR = f"""
_t = bytes(_b[:{_HEAD}])
_b[:{_HEAD}] = b'\\xff' * {_HEAD}
_d.writeblocks(0, _b, 0)
_d.writeblocks(0, _t + b'\\xff' * {_PAGE - _HEAD}, 0)
"""


class RomError(UserError):
    """The files cannot be put there, or did not arrive."""


@dataclass
class RomPlan:
    """An image for a board's ROM and what writing it takes.

    changed: numbers of the sectors to write, none if the board has the image already; sector,
    capacity: bytes.
    """

    image: bytes
    sector: int
    capacity: int
    changed: list = field(default_factory=list)

    @property
    def to_send(self):
        """Bytes."""
        return len(self.changed) * self.sector


def plan(remote, files):
    """RomPlan for a list of AppFile, whose paths are below /rom. Raises RomError."""
    image = romfs.build({file.path[1:]: file.data for file in files})
    remote.exec(_ON_BOARD)
    if not remote.ask("hasattr(_d, 'ioctl')"):
        raise RomError(
            "this board has no ROM file system that can be written from here "
            "(mpremote romfs deploy may know how)"
        )
    blocks, sector = remote.ask("[_d.ioctl(4, 0), _d.ioctl(5, 0)]")
    found = RomPlan(image, sector, blocks * sector)
    if len(image) > found.capacity:
        raise RomError(
            f"not enough room in the ROM file system: {len(image)} bytes needed, "
            f"{found.capacity} there"
        )
    ours = [hashlib.sha256(part).hexdigest()[:_DIGEST] for part in _sectors(found)]
    for at in range(0, len(ours), _AT_ONCE):
        some = ours[at : at + _AT_ONCE]
        numbers = f"range({at}, {at + len(some)})"
        theirs = remote.ask(f"[_h({sector}*n, {sector}*(n+1))[:{_DIGEST}] for n in {numbers}]")
        pairs = zip(some, theirs, strict=True)
        found.changed += [at + i for i, (one, other) in enumerate(pairs) if one != other]
    if found.changed:
        found.changed = sorted({0, *found.changed})
    return found


def write(remote, plan, progress=lambda n: None):
    """Carry out a plan. progress: function(bytes just written). Raises RomError.

    Afterwards the board has /rom when it starts the next time, and at once if it had it before.
    """
    if not plan.changed:
        return
    parts = _sectors(plan)
    remote.exec(f"_gone()\n_b = bytearray({plan.sector})\n_d.ioctl(6, 0)")
    for number in reversed(plan.changed):
        _send(remote, parts[number])
        remote.exec(f"_d.writeblocks({number}, _b)" if number else _FIRST_SECTOR)
        progress(plan.sector)
    if remote.ask(f"_h(0, {len(plan.image)})") != hashlib.sha256(plan.image).hexdigest():
        remote.exec("_d.ioctl(6, 0)")
        raise RomError("what arrived in the ROM file system is not what was sent; try again")
    remote.exec("vfs.mount(vfs.VfsRom(_d), '/rom')")


def _send(remote, data):
    """Put one sector into the board's buffer."""
    for at in range(0, len(data), CHUNK):
        coded = b2a_base64(data[at : at + CHUNK], newline=False)
        remote.exec(f"_b[{at}:{at + CHUNK}] = a2b_base64({coded!r})")


def _sectors(plan):
    """The image in sectors, the last one filled up as erased flash."""
    image, size = plan.image, plan.sector
    whole = image.ljust(-(-len(image) // size) * size, _ERASED)
    return [whole[at : at + size] for at in range(0, len(whole), size)]
