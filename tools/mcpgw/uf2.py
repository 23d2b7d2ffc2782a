"""UF2 files: read, check and write them. Nothing here touches a board.

The format is Microsoft's (https://github.com/microsoft/uf2): 512-byte blocks, each with its own
address and payload. What the RP2040's boot ROM and boot sequence ask beyond it is from the RP2040
datasheet, 2.8.1 and 2.8.4: 256-byte payloads at 256-byte addresses, and a 256-byte second stage
at the start of flash that ends in a CRC-32 of the 252 bytes before it.
"""

import re
import struct
from dataclasses import dataclass, field

from . import UserError

BLOCK = 512
_HEADER = struct.Struct("<8I")
_MAGIC = (0x0A324655, 0x9E5D5157)
_MAGIC_END = 0x0AB16F30
_NOT_MAIN_FLASH = 0x0001
_FAMILY_PRESENT = 0x2000
_LARGEST_PAYLOAD = 476

RP2040 = 0xE48BFF56
FAMILIES = {
    RP2040: "RP2040",
    0xE48BFF57: "RP2040 or RP2350 (absolute)",
    0xE48BFF58: "RP2350 (data)",
    0xE48BFF59: "RP2350 (Arm, secure)",
    0xE48BFF5A: "RP2350 (RISC-V)",
    0xE48BFF5B: "RP2350 (Arm, non-secure)",
    0xC47E5767: "ESP32-S3",
    0xBFDD4EEE: "ESP32-S2",
    0x1C5F21B0: "ESP32",
    0x68ED2B88: "SAMD21",
    0x55114460: "SAMD51",
    0xADA52840: "nRF52840",
}

PAGE = 256
XIP_BASE = 0x10000000
_SRAM = (0x20000000, 0x20042000)


class UF2Error(UserError):
    """The file is not what it should be."""


@dataclass
class Image:
    """What a UF2 file puts where.

    family: UF2 family id, None when the file names none
    pages: address in bytes -> payload
    """

    family: int | None = None
    pages: dict = field(default_factory=dict)

    @property
    def start(self):
        return min(self.pages)

    @property
    def end(self):
        """First address after the last payload."""
        return max(a + len(p) for a, p in self.pages.items())

    @property
    def size(self):
        return sum(len(p) for p in self.pages.values())

    def data(self, start, length):
        """length bytes from start; what the file does not write reads as 0xFF."""
        out = bytearray(b"\xff" * length)
        for address, payload in self.pages.items():
            lo, hi = max(address, start), min(address + len(payload), start + length)
            if lo < hi:
                out[lo - start : hi - start] = payload[lo - address : hi - address]
        return bytes(out)


def parse(data):
    """Image from the bytes of a UF2 file. Raises UF2Error."""
    if not data:
        raise UF2Error("the file is empty")
    if struct.unpack_from("<2I", data.ljust(8, b"\0")) != _MAGIC:
        raise UF2Error(f"not a UF2 file (it begins with {data[:4].hex(' ')}){_hint(data)}")
    if len(data) % BLOCK:
        raise UF2Error(
            f"truncated: {len(data)} bytes is not a whole number of {BLOCK}-byte blocks"
        )
    image = Image()
    families = set()
    count = len(data) // BLOCK
    for n in range(count):
        block = data[n * BLOCK : (n + 1) * BLOCK]
        magic0, magic1, flags, address, length, number, total, family = _HEADER.unpack_from(block)
        if (magic0, magic1) != _MAGIC or block[-4:] != struct.pack("<I", _MAGIC_END):
            raise UF2Error(f"block {n} of {count} is damaged (wrong magic)")
        if total != count:
            what = "truncated" if total > count else "more than one image, or damaged"
            raise UF2Error(f"{what}: block {n} speaks of {total} blocks, the file has {count}")
        if number != n:
            raise UF2Error(f"block {n} is numbered {number}: damaged, or blocks are missing")
        if not 0 < length <= _LARGEST_PAYLOAD:
            raise UF2Error(f"block {n} claims a payload of {length} bytes")
        if flags & _NOT_MAIN_FLASH:
            continue
        families.add(family if flags & _FAMILY_PRESENT else None)
        if address in image.pages:
            raise UF2Error(f"address {address:#010x} is written twice (block {n})")
        image.pages[address] = block[_HEADER.size : _HEADER.size + length]
    if not image.pages:
        raise UF2Error("no block of the file is meant for flash")
    if len(families) > 1:
        raise UF2Error("made for several chips: " + ", ".join(sorted(map(family_name, families))))
    image.family = families.pop()
    return image


def check_rp2040(image, region=2 * 1024 * 1024, flash=2 * 1024 * 1024):
    """Raise UF2Error unless the boot ROM of an RP2040 will write and start this image.

    region: bytes at the start of flash that the firmware may use; flash: bytes of flash.
    """
    if image.family != RP2040:
        raise UF2Error(f"made for {family_name(image.family)}, not for the RP2040")
    for address, payload in image.pages.items():
        if len(payload) != PAGE or address % PAGE:
            raise UF2Error(
                f"block at {address:#010x} has {len(payload)} bytes; "
                f"the RP2040 takes {PAGE} at a multiple of {PAGE}"
            )
    if image.start < XIP_BASE or image.end > XIP_BASE + flash:
        raise UF2Error(
            f"writes {image.start:#010x} to {image.end:#010x}, outside the board's flash "
            f"({XIP_BASE:#010x} to {XIP_BASE + flash:#010x})"
        )
    if image.end > XIP_BASE + region:
        raise UF2Error(
            f"{(image.end - XIP_BASE) // 1024} KB, larger than the {region // 1024} KB kept for "
            "firmware: it would overwrite the files or the queue on the board"
        )
    boot2 = image.data(XIP_BASE, PAGE)
    if image.start != XIP_BASE or boot2_crc(boot2[:252]) != struct.unpack("<I", boot2[252:])[0]:
        raise UF2Error("no second-stage boot loader with a right checksum at the start of flash")
    stack, reset = struct.unpack("<2I", image.data(XIP_BASE + PAGE, 8))
    in_image = XIP_BASE + PAGE < reset < image.end and reset & 1
    if not (_SRAM[0] < stack <= _SRAM[1] and in_image):
        raise UF2Error("no vector table after the second-stage boot loader")


def boot2_crc(data):
    """CRC-32 as the RP2040 boot ROM counts it: 0x04C11DB7, not reflected, from all ones."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1) ^ 0x04C11DB7 if crc & 0x80000000 else crc << 1
        crc &= 0xFFFFFFFF
    return crc


def encode(pages, family=RP2040):
    """Bytes of a UF2 file from {address: payload}, in the order of the addresses."""
    out = bytearray()
    for n, address in enumerate(sorted(pages)):
        payload = pages[address]
        out += _HEADER.pack(*_MAGIC, _FAMILY_PRESENT, address, len(payload), n, len(pages), family)
        out += payload.ljust(_LARGEST_PAYLOAD, b"\0") + struct.pack("<I", _MAGIC_END)
    return bytes(out)


def with_erase(image, flash=2 * 1024 * 1024):
    """Bytes of a UF2 file that writes image and leaves all other flash erased.

    The boot ROM erases what it writes, so pages of 0xFF erase whatever lay there: no second
    tool is needed. flash: bytes of flash.
    """
    pages = {XIP_BASE + at: b"\xff" * PAGE for at in range(0, flash, PAGE)}
    pages.update(image.pages)
    return encode(pages, image.family)


def version_text(image):
    """The "MicroPython v1.25.0 on 2025-04-15" in a firmware image, None when it has none."""
    whole = image.data(image.start, image.end - image.start)
    found = re.search(rb"MicroPython v[0-9][ -~]{0,60}? on [0-9-]{10}", whole)
    return found.group().decode() if found else None


def holds_gateway(image):
    """Whether mcp_gw is frozen into the image."""
    return b"mcp_gw" in image.data(image.start, image.end - image.start)


def family_name(family):
    if family is None:
        return "an unnamed chip"
    return FAMILIES.get(family, f"the unknown family {family:#010x}")


def _hint(data):
    if data[:4] == b"\x7fELF":
        return ": this is an ELF file, flash the .uf2 beside it"
    if data[:1] == b"\xe9":
        return ": this is an image for an Espressif chip"
    if data[:1] == b":":
        return ": this is an Intel HEX file"
    return ""
