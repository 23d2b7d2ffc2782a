"""Images for Espressif chips: check a merged image before it is written to a board.

MicroPython's firmware.bin for the ESP32-S3 holds, at the flash offsets where they belong, the boot
loader (0), the partition table (0x8000) and the application. Each of the three carries its own
check, and all are verified: a download cut short is noticed here and not on the board. Formats:
ESP-IDF, "App Image Format" and "Partition Tables".
"""

import hashlib
import struct
from dataclasses import dataclass

from . import UserError

TABLE_OFFSET = 0x8000
_TABLE_SIZE = 0xC00
_MAGIC = 0xE9
_ENTRY = struct.Struct("<2sBBII16sI")
_APP, _FACTORY, _OTA_0, _OTA_LAST = 0, 0x00, 0x10, 0x1F


class ImageError(UserError):
    """The file is not what it should be."""


@dataclass(frozen=True)
class Partition:
    """One entry of the table. offset and size are in bytes of flash."""

    label: str
    kind: int
    subtype: int
    offset: int
    size: int

    @property
    def boots(self):
        """Whether this is where the first application of a merged image lies."""
        return self.kind == _APP and (
            self.subtype == _FACTORY or _OTA_0 <= self.subtype <= _OTA_LAST
        )


@dataclass(frozen=True)
class Merged:
    """A merged image that passed every check. flash_end: bytes of flash its partitions need."""

    chip: str
    size: int
    version: str
    partitions: tuple
    flash_end: int


def check_merged(data, chip="esp32s3"):
    """Merged from the bytes of an image to be written at offset 0. Raises ImageError.

    chip: esptool's name of it.
    """
    _check_header(data, chip)
    _verify(data, chip, "boot loader")
    table = data[TABLE_OFFSET : TABLE_OFFSET + _TABLE_SIZE]
    if table[:2] != b"\xaa\x50":
        raise ImageError(_no_table(data))
    partitions = parse_table(table)
    app = next((p for p in partitions if p.boots), None)
    if app is None:
        raise ImageError("the partition table names no application")
    if app.offset >= len(data):
        raise ImageError(
            f"truncated: the application should begin at {app.offset:#x}, "
            f"the file ends at {len(data):#x}"
        )
    body = data[app.offset :]
    _check_header(body, chip, "the application's image")
    used = _verify(body, chip, "application")
    if used > app.size:
        raise ImageError(f"the application ({used} bytes) does not fit its partition ({app.size})")
    end = max(p.offset + p.size for p in partitions)
    return Merged(chip, len(data), _app_version(body), tuple(partitions), end)


def parse_table(table):
    """List of Partition from the bytes of a partition table. Raises ImageError."""
    partitions = []
    for at in range(0, len(table) - 31, 32):
        magic, kind, subtype, offset, size, label, _flags = _ENTRY.unpack_from(table, at)
        if magic == b"\xeb\xeb":
            if table[at + 16 : at + 32] != hashlib.md5(table[:at]).digest():
                raise ImageError("the partition table's checksum is wrong")
            return partitions
        if magic == b"\xff\xff":
            return partitions
        if magic != b"\xaa\x50":
            raise ImageError(f"entry {at // 32} of the partition table is damaged")
        name = label.split(b"\0")[0].decode("ascii", "replace")
        partitions.append(Partition(name, kind, subtype, offset, size))
    raise ImageError("truncated: the partition table has no end")


def _check_header(data, chip, what="the file"):
    from esptool.targets import CHIP_DEFS

    if not data:
        raise ImageError("the file is empty")
    if data[0] != _MAGIC:
        hint = ": this is a UF2 file, for another board" if data[:4] == b"UF2\n" else ""
        hint = ": flash the .bin beside this ELF file" if data[:4] == b"\x7fELF" else hint
        raise ImageError(f"{what} is no image for an Espressif chip{hint}")
    if len(data) < 24:
        raise ImageError(f"truncated: {what} ends inside its header")
    found = struct.unpack_from("<H", data, 12)[0]
    if found != CHIP_DEFS[chip].IMAGE_CHIP_ID:
        names = {c.IMAGE_CHIP_ID: c.CHIP_NAME for c in CHIP_DEFS.values()}
        names = names.get(found, f"an unknown chip ({found})")
        raise ImageError(f"{what} is made for {names}, not for {CHIP_DEFS[chip].CHIP_NAME}")


def _verify(data, chip, what):
    """Bytes that the image at the start of data takes. Raises ImageError."""
    from esptool.bin_image import LoadFirmwareImage
    from esptool.util import FatalError

    try:
        image = LoadFirmwareImage(chip, data)
    except (FatalError, struct.error, TypeError, RuntimeError) as e:
        # esptool meets the end of the file in its own ways: a short struct, ord() of nothing.
        raise ImageError(f"the {what} is truncated or damaged ({e})") from None
    if not image.segments:
        raise ImageError(f"the {what} is empty")
    if image.checksum != image.calculate_checksum():
        raise ImageError(f"the {what}'s checksum is wrong: the file is damaged")
    if image.append_digest and image.stored_digest != image.calc_digest:
        raise ImageError(f"the {what}'s SHA-256 is wrong: the file is truncated or damaged")
    last = image.segments[-1]
    end = last.file_offs + 8 + len(last.data)
    return end + 16 - end % 16 + (32 if image.append_digest else 0)


def _no_table(data):
    # An application of its own is written at 0x10000 by developers; at 0 it would not start.
    if struct.unpack_from("<I", data, 32)[0] == 0xABCD5432:
        return (
            "this is the application alone; flash the merged image, "
            "which has boot loader and partition table in it (firmware.bin)"
        )
    if len(data) <= TABLE_OFFSET:
        return f"truncated, or no merged image: no partition table at {TABLE_OFFSET:#x}"
    return f"no partition table at {TABLE_OFFSET:#x}: not a merged image"


def _app_version(body):
    """Version in the application's descriptor (first segment), "" when there is none."""
    if struct.unpack_from("<I", body, 32)[0] != 0xABCD5432:
        return ""
    return body[48:80].split(b"\0")[0].decode("ascii", "replace")
