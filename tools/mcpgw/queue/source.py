"""Where an image comes from: a file, or the flash of a board."""

import json
from binascii import a2b_base64
from pathlib import Path

from .. import board
from . import QueueError

# Runs on the board: its queue's device, whatever it is.
_ON_BOARD = """
from binascii import b2a_base64
from mcp_gw.queue.nor import default_device
_d = default_device()
_b = bytearray(4096)
def _r(s):
    _d.read(s * 4096, _b)
    return b2a_base64(_b)[:-1].decode()
"""


def from_file(path, offset=None, length=None):
    """Bytes of the queue's region in a file: all of it, a part, or the region that a board's
    profile names, if the file is a whole flash of that board's size."""
    data = Path(path).read_bytes()
    if offset is None and length is None:
        found = _region(len(data))
        if found is None:
            return data
        offset, length = found
    offset = offset or 0
    end = len(data) if length is None else offset + length
    if not 0 <= offset < end <= len(data):
        raise QueueError(f"{path} has {len(data)} bytes, not those from {offset} to {end}")
    return data[offset:end]


def _region(size):
    """(offset, length) of the queue in a flash of that size, None where no board has such."""
    for profile in board.profiles():
        flash = json.loads(profile.read_text()).get("flash") or {}
        region = flash.get("regions", {}).get("queue")
        if region and flash.get("bytes") == size:
            return region["start"], region["bytes"]
    return None


def from_board(port, progress=lambda n, of: None):
    """Bytes of the queue's region of the board on a port. Its program is interrupted, and started
    again. Raises RemoteError and QueueError."""
    from ..ports import choose_port
    from ..remote import Remote

    with Remote(choose_port(port)) as remote:
        try:
            remote.exec(_ON_BOARD)
            sectors = remote.ask("_d.sectors if _d else 0")
            if not sectors:
                raise QueueError("the board has no flash for a queue")
            parts = []
            for s in range(sectors):
                parts.append(a2b_base64(remote.ask(f"_r({s})")))
                progress(s + 1, sectors)
        finally:
            remote.restart()
    return b"".join(parts)
