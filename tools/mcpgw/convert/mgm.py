"""The container of models, written and read: docs/model-format.md."""

import hashlib
import json
import struct
from dataclasses import dataclass

from mcpgw import UserError

GRAPH, TREES, NEIGHBOURS, LLAMA = 1, 2, 3, 4
KINDS = {GRAPH: "graph", TREES: "trees", NEIGHBOURS: "neighbours", LLAMA: "llama"}
MAX_ARENA = 0x40000000

_HEADER = struct.Struct("<4sHHII6III32s16s")
_MAGIC = b"MGM1"
_VERSION = 1


class FormatError(UserError):
    """A file is not what docs/model-format.md says: `text` is wrong at offset `at`."""

    def __init__(self, text, at):
        super().__init__(f"{text} at offset {at}")
        self.text = text
        self.at = at


@dataclass
class File:
    """A model's parts as read; `sections` are (offset, length) of metadata, body and data."""

    kind: int
    size: int
    metadata: dict
    body: memoryview
    data: memoryview
    arena: int
    macs: int
    sections: tuple


class Data:
    """Collects the data section; equal pieces are kept once."""

    def __init__(self):
        self.bytes = bytearray()
        self._seen = {}

    def add(self, piece, align=16):
        """Offset of `piece` (bytes or an array in the file's byte order) within the section."""
        piece = bytes(piece)
        key = (piece, align)
        if key not in self._seen:
            self.bytes += bytes(-len(self.bytes) % align)
            self._seen[key] = len(self.bytes)
            self.bytes += piece
        return self._seen[key]


def _aligned(n):
    return n + (-n % 16)


def write(kind, metadata, body, data, arena, macs):
    """
    The bytes of a model.

    Args:
        kind: GRAPH, TREES, NEIGHBOURS or LLAMA.
        metadata: dict for JSON; needs `name`.
        body: bytes, or a function that makes them from the offset in the file at which the data
            section begins; the length of what it returns must not depend on that.
        data: bytes of the data section.
        arena: bytes of RAM that a run takes; rounded up to 8.
        macs: of one run, 0 for not known.
    """
    if not isinstance(metadata.get("name"), str):
        raise ValueError("metadata needs a name")
    meta = json.dumps(metadata, ensure_ascii=False, separators=(",", ":")).encode()
    length = len(body(0)) if callable(body) else len(body)
    body_at = _aligned(_HEADER.size + len(meta))
    data_at = _aligned(body_at + length)
    body = body(data_at) if callable(body) else body
    if len(body) != length:
        raise ValueError("length of body depends on where it lies")
    size = data_at + len(data)
    arena += -arena % 8
    if size >= 2**31 or arena > MAX_ARENA:
        raise UserError(f"{metadata['name']}: too large for a file of this format")
    sections = (_HEADER.size, len(meta), body_at, length, data_at, len(data))
    fields = (_MAGIC, _VERSION, kind, size, 0, *sections, arena, min(macs, 2**32 - 1))
    out = bytearray(_HEADER.pack(*fields, bytes(32), bytes(16)))
    for at, part in ((_HEADER.size, meta), (body_at, body), (data_at, data)):
        out += bytes(at - len(out)) + part
    out[48:80] = _digest(out)
    return bytes(out)


def _digest(file):
    return hashlib.sha256(bytes(file[:48]) + bytes(file[80:])).digest()


def read(file):
    """
    File of the bytes of a model; what follows the model in `file` is not looked at. Raises
    FormatError.
    """
    file = memoryview(file).cast("B")
    if bytes(file[:4]) != _MAGIC:
        raise FormatError("not a model (.mgm)", 0)
    if len(file) < _HEADER.size:
        raise FormatError("file is cut short", len(file))
    _, version, kind, size, flags, *rest = _HEADER.unpack_from(file)
    sections, (arena, macs, digest, zeros) = rest[:6], rest[6:]
    if version != _VERSION:
        raise FormatError(f"unknown version {version} of the format", 4)
    if kind not in KINDS:
        raise FormatError(f"unknown kind {kind}", 6)
    if size < _HEADER.size:
        raise FormatError("size smaller than the header", 8)
    if size > len(file):
        raise FormatError("file is cut short", 8)
    if flags or any(zeros):
        raise FormatError("reserved field is not 0", 12 if flags else 80)
    file = file[:size]
    end = _HEADER.size
    parts = []
    for i in range(3):
        at, length = sections[2 * i : 2 * i + 2]
        if at % 16 or not end <= at < end + 16 or at + length > size:
            raise FormatError("sections overlap or are out of order", 16 + 8 * i)
        if any(file[end:at]):
            raise FormatError("gap between sections is not 0", end)
        end = at + length
        parts.append(file[at:end])
    if arena % 8 or arena > MAX_ARENA:
        raise FormatError("bad size of arena", 40)
    if digest != _digest(file):
        raise FormatError("checksum does not match: the file is damaged", 48)
    pairs = tuple((sections[i], sections[i + 1]) for i in (0, 2, 4))
    metadata = _metadata(bytes(parts[0]), sections[0])
    return File(kind, size, metadata, parts[1], parts[2], arena, macs, pairs)


def _metadata(text, at):
    try:
        metadata = json.loads(text.decode())
    except ValueError as e:
        raise FormatError(f"metadata is not JSON ({e})", at) from None
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str):
        raise FormatError("metadata is not an object with a name", at)
    labels = metadata.get("labels", [])
    if not isinstance(labels, list) or not all(isinstance(x, str) for x in labels):
        raise FormatError("labels are not a list of strings", at)
    return metadata
