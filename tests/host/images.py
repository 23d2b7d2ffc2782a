"""Firmware images made for tests: UF2 for the RP2040, and merged ones by the real esptool."""

import hashlib
import struct
import subprocess
import sys

from mcpgw import uf2

BASE = uf2.XIP_BASE
BANNER = b"3.4.0; MicroPython v1.25.0 on 2026-01-02\0mcp_gw\0"


def rp2040_pages(size=64 * 1024):
    """{address: 256 bytes} of an image that an RP2040 would start: size bytes."""
    boot2 = bytes(range(252))
    boot2 += struct.pack("<I", uf2.boot2_crc(boot2))
    vectors = struct.pack("<2I", 0x20042000, BASE + 0x1F7)
    rest = vectors + BANNER.rjust(1024, b"\0")
    whole = (boot2 + rest).ljust(size, b"\xa5")
    return {BASE + at: whole[at : at + 256] for at in range(0, size, 256)}


def rp2040_uf2(**kwargs):
    return uf2.encode(rp2040_pages(**kwargs))


def esp_merged(folder, chip="esp32s3", table=None, app_offset=0x10000):
    """Bytes of a merged image, from ELF files that esptool turned into images and joined."""
    boot = elf([(".dram", 0x3FCD0000, b"d" * 256, 3), (".iram", 0x403C8000, b"i" * 512, 6)])
    about = struct.pack("<II8x32s32s", 0xABCD5432, 0, b"v1.25.0", b"micropython").ljust(256, b"\0")
    app = elf(
        [
            (".flash.appdesc", 0x3C000020, about, 2),
            (".iram", 0x40374000, b"i" * 256, 6),
            (".text", 0x42000020, b"code" * 3000, 6),
        ]
    )
    parts = {0: esptool_image(folder, "boot", boot, chip), 0x8000: table or partition_table()}
    parts[app_offset] = esptool_image(folder, "app", app, chip)
    names = []
    for offset, data in parts.items():
        path = folder / f"{offset:x}.part"
        path.write_bytes(data)
        names += [hex(offset), str(path)]
    out = folder / f"{chip}.bin"
    esptool("--chip", chip, "merge-bin", "-o", str(out), *names)
    return out.read_bytes()


def esptool_image(folder, name, elf_bytes, chip="esp32s3"):
    source, out = folder / f"{name}.elf", folder / f"{name}.bin"
    source.write_bytes(elf_bytes)
    esptool("--chip", chip, "elf2image", "--flash-size", "8MB", "-o", str(out), str(source))
    return out.read_bytes()


def esptool(*arguments):
    command = [sys.executable, "-m", "esptool", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def partition_table(flash_mb=8):
    """MicroPython's layout: NVS, PHY data, application, and the file system up to the end."""
    entries = [
        (1, 2, 0x9000, 0x6000, b"nvs"),
        (1, 1, 0xF000, 0x1000, b"phy_init"),
        (0, 0, 0x10000, 0x1F0000, b"factory"),
        (1, 0x81, 0x200000, (flash_mb << 20) - 0x200000, b"vfs"),
    ]
    table = b"".join(struct.pack("<2sBBII16sI", b"\xaa\x50", *e, 0) for e in entries)
    table += b"\xeb\xeb" + b"\xff" * 14 + hashlib.md5(table).digest()
    return table.ljust(0xC00, b"\xff")


def elf(sections):
    """A small ELF file for Xtensa: [(name, address, bytes, flags)], all PROGBITS."""
    names, body, headers = b"\0", b"", [(0,) * 10]
    for name, address, data, flags in sections:
        at = 52 + len(body)
        headers.append((len(names), 1, flags, address, at, len(data), 0, 0, 4, 0))
        names += name.encode() + b"\0"
        body += data + b"\0" * (-len(data) % 4)
    headers.append((len(names), 3, 0, 0, 52 + len(body), len(names) + 10, 0, 0, 1, 0))
    names += b".shstrtab\0"
    body += names + b"\0" * (-len(names) % 4)
    count = len(headers)
    head = b"\x7fELF\x01\x01\x01".ljust(16, b"\0") + struct.pack(
        "<HHIIIIIHHHHHH",
        *(2, 94, 1, sections[0][1], 0, 52 + len(body), 0, 52, 0, 0, 40, count, count - 1),
    )
    return head + body + b"".join(struct.pack("<10I", *h) for h in headers)
