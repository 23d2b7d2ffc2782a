"""The smallest picture and sound that are whole files, made rather than stored."""

import struct
from binascii import crc32


def png(rgb=b"\xff\x00\x00"):
    """A PNG of one pixel."""
    row = b"\x00" + rgb
    low, high = 1, 0
    for byte in row:
        low = (low + byte) % 65521
        high = (high + low) % 65521
    stored = struct.pack("<BHH", 1, len(row), ~len(row) & 0xFFFF) + row
    packed = b"\x78\x01" + stored + struct.pack(">HH", high, low)
    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    parts = [b"\x89PNG\r\n\x1a\n"]
    for kind, data in ((b"IHDR", header), (b"IDAT", packed), (b"IEND", b"")):
        parts += [struct.pack(">I", len(data)), kind, data]
        parts.append(struct.pack(">I", crc32(kind + data)))
    return b"".join(parts)


def wav(samples=b"\x80\xa0\x80\x60"):
    """A WAV of 8-bit mono samples at 8 kHz."""
    form = struct.pack("<HHIIHH", 1, 1, 8000, 8000, 1, 8)
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form
    body += b"data" + struct.pack("<I", len(samples)) + samples
    return b"RIFF" + struct.pack("<I", len(body)) + body
