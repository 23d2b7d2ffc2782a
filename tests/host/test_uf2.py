"""UF2 files: what the RP2040 would start is let through, everything else is named."""

import random
import struct

import pytest
from images import BASE, esp_merged, rp2040_pages, rp2040_uf2
from mcpgw import uf2

REGION = 640 * 1024
PAGES = rp2040_pages()


def refuse(data, match, region=REGION):
    with pytest.raises(uf2.UF2Error, match=match):
        uf2.check_rp2040(uf2.parse(data), region)


def patched(data, block, offset, value):
    at = block * 512 + offset
    return data[:at] + struct.pack("<I", value) + data[at + 4 :]


def test_a_good_image_is_read_back_whole():
    data = rp2040_uf2()
    image = uf2.parse(data)
    uf2.check_rp2040(image, REGION)
    assert image.pages == PAGES
    assert (image.start, image.end, image.size) == (BASE, BASE + 65536, 65536)
    assert uf2.encode(image.pages) == data
    assert uf2.version_text(image) == "MicroPython v1.25.0 on 2026-01-02"
    assert uf2.holds_gateway(image)


def test_block_damage_is_named():
    data = rp2040_uf2()
    refuse(b"", "empty")
    refuse(data[:-1], "truncated")
    refuse(data[:-512], "truncated: block 0 speaks of 256 blocks, the file has 255")
    refuse(data + data, "more than one image")
    refuse(patched(data, 3, 0, 0), "block 3 of 256 is damaged")
    refuse(patched(data, 3, 4, 0), "block 3 of 256 is damaged")
    refuse(patched(data, 3, 508, 0), "block 3 of 256 is damaged")
    refuse(data[:512] + data[1024:1536] + data[512:1024] + data[1536:], "block 1 is numbered 2")
    refuse(patched(data, 5, 16, 477), "payload of 477")
    refuse(patched(data, 5, 16, 0), "payload of 0")
    refuse(patched(data, 5, 12, BASE), "written twice")
    refuse(patched(data, 5, 24, 255), "block 5 speaks of 255")


def test_another_chips_image_is_named():
    data = rp2040_uf2()
    refuse(uf2.encode(PAGES, 0xE48BFF59), r"made for RP2350 \(Arm, secure\), not for the RP2040")
    refuse(uf2.encode(PAGES, 0xC47E5767), "made for ESP32-S3")
    refuse(uf2.encode(PAGES, 0x12345678), "the unknown family 0x12345678")
    refuse(patched(data, 5, 28, 0xE48BFF59), "several chips: RP2040, RP2350")
    no_family = b"".join(patched(data, n, 8, 0)[n * 512 : (n + 1) * 512] for n in range(256))
    refuse(no_family, "an unnamed chip")


def test_what_would_not_start_is_refused():
    pages = dict(PAGES)
    pages[BASE] = bytes([pages[BASE][0] ^ 1]) + pages[BASE][1:]
    refuse(uf2.encode(pages), "boot loader with a right checksum")
    without = {a: p for a, p in PAGES.items() if a != BASE}
    refuse(uf2.encode(without), "boot loader with a right checksum")
    pages = {**PAGES, BASE + 256: struct.pack("<2I", 0x20042000, BASE + 0x1F6).ljust(256, b"\0")}
    refuse(uf2.encode(pages), "no vector table")
    pages = {**PAGES, BASE + 256: struct.pack("<2I", 0x10000000, BASE + 0x1F7).ljust(256, b"\0")}
    refuse(uf2.encode(pages), "no vector table")


def test_addresses_and_sizes_are_held_to():
    refuse(uf2.encode({**PAGES, BASE + 65536: b"x" * 255}), "255 bytes; the RP2040 takes 256")
    refuse(uf2.encode({**PAGES, BASE + 65536 + 4: b"x" * 256}), "a multiple of 256")
    refuse(uf2.encode({**PAGES, 0x20000000: b"x" * 256}), "outside the board's flash")
    refuse(uf2.encode({**PAGES, BASE + 2 * 1024 * 1024: b"x" * 256}), "outside the board's flash")
    whole = rp2040_uf2(size=REGION)
    uf2.check_rp2040(uf2.parse(whole), REGION)
    refuse(rp2040_uf2(size=REGION + 256), "larger than the 640 KB kept for firmware")


def test_other_files_are_recognised(tmp_path):
    refuse(b"\x7fELF" + bytes(600), "ELF file")
    refuse(esp_merged(tmp_path), "an Espressif chip")
    refuse(b":10000000" + bytes(600), "Intel HEX")
    refuse(b"\0" * 512, "not a UF2 file")


def test_blocks_that_are_not_for_flash_are_skipped():
    data = rp2040_uf2()
    data = patched(data, 255, 8, 0x2001)
    image = uf2.parse(data)
    assert len(image.pages) == 255
    assert image.end == BASE + 65536 - 256


def test_every_flipped_bit_of_the_header_is_noticed_or_harmless():
    rng = random.Random(7)
    data = rp2040_uf2(size=4096)
    good = uf2.parse(data).pages
    noticed = 0
    for _ in range(3000):
        block, bit = rng.randrange(16), rng.randrange(32 * 8)
        at = block * 512 + bit // 8
        bad = data[:at] + bytes([data[at] ^ 1 << bit % 8]) + data[at + 1 :]
        try:
            image = uf2.parse(bad)
            uf2.check_rp2040(image, REGION)
        except uf2.UF2Error:
            noticed += 1
        else:
            # UF2 has no checksum: unused bits of the flags, and a block moved to a free place.
            assert bit // 32 == 2 or (bit // 32 == 3 and len(image.pages) == len(good))
    assert noticed > 2000


def test_erase_writes_all_the_flash_and_keeps_the_image():
    flash = 2 * 1024 * 1024
    image = uf2.parse(uf2.with_erase(uf2.parse(rp2040_uf2()), flash))
    uf2.check_rp2040(image, flash, flash)
    assert image.size == flash
    assert {a: p for a, p in image.pages.items() if a in PAGES} == PAGES
    assert image.data(BASE + 65536, flash - 65536) == b"\xff" * (flash - 65536)


def test_boot2_crc_is_the_one_of_a_real_boot2():
    # The check value of this CRC (CRC-32/MPEG-2) over "123456789", from the catalogue of CRCs.
    assert uf2.boot2_crc(b"123456789") == 0x0376E6E7
