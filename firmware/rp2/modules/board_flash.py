"""How the flash behind rp2.Flash() is used: littlefs, and behind it the queue's ring.

LFS_LEN, QUEUE_START, QUEUE_LEN: offsets and lengths in bytes, relative to rp2.Flash().
The ROM file system lies outside that region; MicroPython itself mounts it at /rom.
"""

import vfs
from _flash_map import LFS_LEN, QUEUE_LEN, QUEUE_START  # noqa: F401
from _rp2 import Flash  # rp2 has an assembler for PIO as well, and takes 1.3 KB of RAM
from micropython import const

_SECTOR = const(4096)
_PAGE = const(256)  # what the flash programs at once
_ERASE = const(6)  # block device ioctl: erase one block

problem = None  # why there is no file system, as text; else None


def _littlefs():
    return Flash(start=0, len=LFS_LEN)


def _blank(dev):
    """True if dev never held data: all of it erased, but for the first page of the first two
    blocks, all that is written by a formatting that may have been cut short."""
    data = memoryview(dev)
    erased = b"\xff" * _SECTOR
    for at in range(0, LFS_LEN, _SECTOR):
        skip = _PAGE if at <= _SECTOR else 0
        if data[at + skip : at + _SECTOR] != erased[skip:]:
            return False
    return True


def mount():
    """Mount littlefs at /. Formats it only where it is blank; anything else stays as it is, and
    the board starts without a file system, so that it can be looked at and repaired over USB."""
    global problem
    dev = _littlefs()
    try:
        fs = vfs.VfsLfs2(dev, progsize=_PAGE)
    except OSError as e:
        if not _blank(dev):
            problem = "no file system (%s): board_flash.factory_reset() makes one" % e
            return
        vfs.VfsLfs2.mkfs(dev, progsize=_PAGE)
        fs = vfs.VfsLfs2(dev, progsize=_PAGE)
    vfs.mount(fs, "/")
    problem = None


def factory_reset(queue=False):
    """Erase the file system and make a new one; with queue=True erase the queue's ring as well.

    Nothing else ever erases either as a whole. Takes up to a minute on worn flash.
    """
    try:
        vfs.umount("/")
    except OSError:
        pass
    _erase(_littlefs(), LFS_LEN)
    if queue:
        _erase(Flash(start=QUEUE_START, len=QUEUE_LEN), QUEUE_LEN)
    mount()


def _erase(dev, length):
    # one sector at a time: interrupts, USB's among them, are off while the flash is busy
    for sector in range(length // _SECTOR):
        dev.ioctl(_ERASE, sector)
