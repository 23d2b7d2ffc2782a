"""Images of MicroPython's ROM file system, with the bytes of every file aligned.

The format is MicroPython's (extmod/vfs_rom.c): records of kind, length and payload, numbers in
base 128 with the most significant part first. mpremote's writer puts a file's bytes wherever they
come to lie; models and vocabularies run in place, from a processor that cannot load an unaligned
word. So the bytes come first here, each file's in a record of its own, and the tree that follows
points at them.
"""

from . import UserError

ALIGNMENT = 16  # what the formats of this project ask for, counted from the image's first byte
MAGIC = b"\xd2\xcd\x31"
_LENGTH_BYTES = 5  # of the image's length, always, so that what follows begins at a known place
_START = len(MAGIC) + _LENGTH_BYTES

_PADDING = 1
_DATA = 2
_POINTER = 3
_FOLDER = 4
_FILE = 5


def build(files):
    """The image as bytes. files: {path: bytes}; paths are relative to where it is mounted, with /
    between folder and name. Raises UserError for paths that a board could not open."""
    body = bytearray()
    tree = {}
    for path, data in sorted(files.items()):
        _place(tree, path, (len(data), _append(body, data)))
    body += _folder(tree)
    return MAGIC + _number(len(body), _LENGTH_BYTES) + bytes(body)


def image_size(head):
    """Bytes of the image that begins with `head` (16 bytes or more); None: there is none."""
    if not head.startswith(MAGIC):
        return None
    size = 0
    for at in range(len(MAGIC), len(head)):
        size = size << 7 | head[at] & 0x7F
        if not head[at] & 0x80:
            return at + 1 + size
    return None


def _append(body, data):
    """Append a file's bytes, aligned; returns their offset in the body."""
    header = _number(_DATA) + _number(len(data))
    gap = -(_START + len(body) + len(header)) % ALIGNMENT
    if gap == 1:  # the shortest record has two bytes
        gap += ALIGNMENT
    if gap:
        body += _record(_PADDING, bytes(gap - 2))
    body += header
    at = len(body)
    body += data
    return at


def _place(tree, path, pointer):
    *folders, name = path.split("/")
    for part in (*folders, name):
        if part in ("", ".", "..") or "\0" in part:
            raise UserError(f"{path!r} cannot be the path of a file on a board")
    for folder in folders:
        tree = tree.setdefault(folder, {})
        if not isinstance(tree, dict):
            raise UserError(f"{path!r} lies in a folder that is a file as well")
    if name in tree:
        raise UserError(f"{path!r} is a folder as well")
    tree[name] = pointer


def _folder(tree):
    """The records of what a folder holds."""
    records = b""
    for name, item in tree.items():
        encoded = name.encode()
        head = _number(len(encoded)) + encoded
        if isinstance(item, dict):
            records += _record(_FOLDER, head + _folder(item))
        else:
            size, at = item
            records += _record(_FILE, head + _record(_POINTER, _number(size) + _number(at)))
    return records


def _record(kind, payload):
    return _number(kind) + _number(len(payload)) + payload


def _number(value, length=1):
    """Base 128, at least `length` bytes."""
    digits = [value & 0x7F]
    while value := value >> 7:
        digits.append(0x80 | value & 0x7F)
    digits += [0x80] * (length - len(digits))
    return bytes(reversed(digits))
