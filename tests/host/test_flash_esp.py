"""Flashing an ESP32-S3: the real esptool makes the images, and writes them to a chip on a pty."""

import os

import pytest
from esp_loader import ESP32C3, EspLoader
from images import elf, esp_merged, esptool_image, partition_table, rp2040_uf2
from mcpgw import UserError, espimage, flash_esp
from mcpgw.board import find_board


@pytest.fixture(scope="module")
def merged(tmp_path_factory):
    return esp_merged(tmp_path_factory.mktemp("esp"))


def refuse(data, match):
    with pytest.raises(espimage.ImageError, match=match):
        espimage.check_merged(data)


def firmware(tmp_path, data):
    path = tmp_path / "firmware.bin"
    path.write_bytes(data)
    return flash_esp.check_image(find_board("esp32s3"), path)


def test_a_merged_image_passes(merged):
    image = espimage.check_merged(merged)
    assert image.size == len(merged)
    assert image.version == "v1.25.0"
    assert image.flash_end == 8 << 20
    assert [p.label for p in image.partitions] == ["nvs", "phy_init", "factory", "vfs"]


def test_a_download_cut_short_anywhere_is_noticed(merged):
    for length in (1, 23, 24, 100, 0x300, 0x7FFF, 0x8000, 0x8020, 0xFFFF, 0x10000, 0x10010):
        refuse(merged[:length], "truncated|damaged|no partition table|checksum")
    for cut in (1, 32, 33, 48, 1000, 60000):
        refuse(merged[:-cut], "application is truncated|application's SHA-256")


def test_damage_is_noticed_in_each_part(merged):
    for at, match in (
        (0x40, "boot loader's checksum"),
        (0x8004, "partition table's checksum"),
        (0x8060, "entry 3 of the partition table is damaged"),
        (0x10200, "application's"),
    ):
        refuse(merged[:at] + bytes([merged[at] ^ 1]) + merged[at + 1 :], match)


def test_other_chips_and_files_are_named(tmp_path, merged):
    refuse(esp_merged(tmp_path, chip="esp32c3"), "made for ESP32-C3, not for ESP32-S3")
    refuse(rp2040_uf2(), "UF2 file, for another board")
    refuse(elf([(".text", 0x42000020, b"code", 6)]), "flash the .bin beside this ELF")
    refuse(b"", "empty")
    app = merged[0x10000:]
    refuse(app, "the application alone; flash the merged image")
    boot = elf([(".iram", 0x403C8000, b"i" * 512, 6)])
    refuse(esptool_image(tmp_path, "boot", boot), "no partition table at 0x8000")


def test_an_application_that_is_missing_or_too_large_is_noticed(tmp_path, merged):
    empty = bytes(partition_table()[:64]).ljust(0xC00, b"\xff")
    refuse(merged[:0x8000] + empty + merged[0x8C00:], "names no application")
    small = bytearray(partition_table())
    small[64 + 8 : 64 + 12] = (0x1000).to_bytes(4, "little")
    del small[128:]
    refuse(merged[:0x8000] + small.ljust(0xC00, b"\xff") + merged[0x8C00:], "does not fit")


def test_esptool_writes_the_image_to_the_right_chip(tmp_path, merged):
    with EspLoader() as chip:
        flash_esp.program(chip.port, "esp32s3", firmware(tmp_path, merged), erase=False)
        assert chip.flash[: len(merged)] == merged
        assert not chip.erased
        chip.flash[-1] = 0
        flash_esp.program(chip.port, "esp32s3", firmware(tmp_path, merged), erase=True)
        assert chip.erased and chip.flash[-1] == 0xFF
        assert chip.flash[: len(merged)] == merged


def test_another_chip_is_refused_before_anything_is_written(tmp_path, merged):
    with EspLoader(chip_id=ESP32C3) as chip:
        with pytest.raises(
            UserError, match="is an ESP32-C3, not an ESP32-S3: nothing was written"
        ):
            flash_esp.program(chip.port, "esp32s3", firmware(tmp_path, merged), erase=False)
        assert chip.writes == 0


def test_too_little_flash_is_refused_before_anything_is_written(tmp_path, merged):
    with EspLoader(flash_mb=4) as chip:
        with pytest.raises(UserError, match="has 4MB of flash and the image is laid out for 8 MB"):
            flash_esp.program(chip.port, "esp32s3", firmware(tmp_path, merged), erase=False)
        assert chip.writes == 0


def test_what_arrived_wrong_is_reported(tmp_path, merged):
    board = find_board("esp32s3")
    with EspLoader(corrupt=True) as chip, pytest.raises(UserError, match="MD5|match"):
        flash_esp.write(board, firmware(tmp_path, merged), chip.port)


def test_a_silent_port_says_which_buttons(tmp_path, merged, monkeypatch):
    master, slave = os.openpty()
    monkeypatch.setattr("esptool.cmds.DEFAULT_CONNECT_ATTEMPTS", 1)
    try:
        with pytest.raises(UserError, match="BOOT button"):
            flash_esp.write(find_board("esp32s3"), firmware(tmp_path, merged), os.ttyname(slave))
    finally:
        os.close(master)
        os.close(slave)


def test_a_port_that_is_not_there_is_one_line(tmp_path, merged):
    with pytest.raises(UserError, match="does not exist"):
        flash_esp.write(find_board("esp32s3"), firmware(tmp_path, merged), "/dev/no-such-port")
