"""`mcpgw flash`: boards, images and UF2 drives, as far as that goes without hardware."""

import io
import os
import shutil
import subprocess
import sys
import threading
import time

import pytest
from images import rp2040_uf2
from mcpgw import UserError, board, drives, flash_uf2, ports
from mcpgw.cli import main
from waiting import PATIENCE_S

RP2_INFO = "UF2 Bootloader v3.0\r\nModel: Raspberry Pi RP2\r\nBoard-ID: RPI-RP2\r\n"


@pytest.fixture
def alone(monkeypatch, tmp_path):
    """A machine with nothing plugged in; returns the file that stands for /proc/mounts."""
    mounts = tmp_path / "mounts"
    mounts.write_text("/dev/sda1 / ext4 rw 0 0\n")
    monkeypatch.setattr(drives, "_MOUNTS", mounts)
    monkeypatch.setattr(drives, "_LABELS", tmp_path / "by-label")
    monkeypatch.setattr("serial.tools.list_ports.comports", lambda: [])
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.delenv(ports.ENV, raising=False)
    return mounts


def bootsel(folder, info=RP2_INFO):
    folder.mkdir()
    (folder / drives.INFO).write_text(info)
    return folder


def mount(mounts, folder, kind="vfat"):
    name = str(folder).replace("\\", "\\134").replace(" ", "\\040")
    with mounts.open("a") as f:
        f.write(f"/dev/sdb1 {name} {kind} rw,relatime 0 0\n")


def run(*arguments):
    """(exit code) of mcpgw with these arguments."""
    with pytest.raises(SystemExit) as stopped:
        main([str(a) for a in arguments])
    return stopped.value.code


def fails(capsys, *arguments):
    """The one line that mcpgw says when it fails."""
    assert run(*arguments) != 0
    said = capsys.readouterr().err.strip()
    assert said.startswith("mcpgw: ") and "\n" not in said, said
    return said


class BootROM(threading.Thread):
    """Plays an RP2040's boot ROM: takes size bytes of firmware.uf2, then the drive is gone."""

    def __init__(self, drive, size):
        super().__init__(daemon=True)
        self.drive, self.size, self.taken = drive, size, None

    def run(self):
        target = self.drive / "firmware.uf2"
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            if target.exists() and target.stat().st_size >= self.size:
                self.taken = target.read_bytes()
                (self.drive / drives.INFO).unlink()
                return
            time.sleep(0.01)


def test_boards_come_from_their_profiles():
    known = board.boards()
    pico = known["pico"]
    assert (pico.mcu, pico.method) == ("rp2040", "uf2")
    assert (pico.flash_bytes, pico.firmware_bytes) == (2097152, 655360)
    assert pico.image == "build/pico/firmware.uf2"
    assert known["esp32s3"].method == "esp"
    assert known["cortex-m3"].method is None
    assert board.find_board("MCPGW_PICO") == pico


def test_boards_are_found_where_there_is_no_checkout(tmp_path):
    # An installed package: no boards/ beside it but the copy inside.
    package = tmp_path / "site" / "mcpgw"
    source = board.tree_root() / "tools" / "mcpgw"
    package.mkdir(parents=True)
    for name in ("__init__.py", "board.py"):
        shutil.copy(source / name, package)
    for profile in (board.tree_root() / "boards").glob("*/profile.json"):
        target = package / "boards" / profile.parent.name
        target.mkdir(parents=True)
        shutil.copy(profile, target)
    script = "from mcpgw import board; print(board.tree_root(), *board.boards())"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(package.parent)},
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["None", *board.boards()], done.stderr


def test_wrong_use_is_one_line(capsys, alone):
    assert "--list" in fails(capsys, "flash")
    assert "no board 'picoo'; there are cortex-m3, cortex-m4f, esp32s3, pico" in fails(
        capsys, "flash", "picoo"
    )
    said = fails(capsys, "flash", "cortex-m3")
    assert "emulated" in said and "mcpgw sim cortex-m3" in said


def test_a_missing_image_says_how_to_get_one(capsys, alone, tmp_path, monkeypatch):
    assert "nope.uf2 does not exist" in fails(capsys, "flash", "pico", "nope.uf2")
    root = tmp_path / "tree"
    (root / "boards").mkdir(parents=True)
    monkeypatch.setattr(board, "tree_root", lambda: root)
    monkeypatch.chdir(tmp_path)
    pico = board.Board("pico", "Pico", "rp2040", "uf2", "build/pico/firmware.uf2", target="pico")
    with pytest.raises(UserError, match="make pico"):
        board.find_image(pico)
    built = root / pico.image
    built.parent.mkdir(parents=True)
    built.write_bytes(b"x")
    assert board.find_image(pico) == built


def test_the_image_is_checked_before_a_board_is_looked_for(capsys, alone, tmp_path):
    path = tmp_path / "half.uf2"
    path.write_bytes(rp2040_uf2()[:-512])
    assert "half.uf2: truncated" in fails(capsys, "flash", "pico", path)
    path.write_bytes(rp2040_uf2())
    assert run("flash", "pico", path, "--check") == 0
    assert "64 KB, MicroPython v1.25.0 on 2026-01-02, with mcp_gw" in capsys.readouterr().out


def test_no_board_says_what_was_looked_at(capsys, alone, tmp_path):
    path = tmp_path / "fw.uf2"
    path.write_bytes(rp2040_uf2())
    said = fails(capsys, "flash", "pico", path)
    assert "INFO_UF2.TXT" in said and "Raspberry Pi" in said and "BOOTSEL" in said
    label = tmp_path / "by-label"
    label.mkdir()
    (label / "RPI-RP2").touch()
    assert "RPI-RP2 is not mounted" in fails(capsys, "flash", "pico", path)


def test_drives_are_found_among_the_mounts(alone, tmp_path):
    plain = bootsel(tmp_path / "RPI-RP2")
    spaced = bootsel(tmp_path / "with space")
    (tmp_path / "stick").mkdir()
    mount(alone, plain)
    mount(alone, spaced)
    mount(alone, tmp_path / "stick")
    mount(alone, tmp_path / "gone")
    mount(alone, bootsel(tmp_path / "on-ext4"), "ext4")
    found = drives.find_drives()
    assert [d.path for d in found] == [plain, spaced]
    assert found[0].board_id == "RPI-RP2" and found[0].model == "Raspberry Pi RP2"


def test_two_boards_need_a_choice_and_a_wrong_one_is_refused(capsys, alone, tmp_path):
    path = tmp_path / "fw.uf2"
    path.write_bytes(rp2040_uf2())
    other = "UF2 Bootloader v1.0\nModel: Raspberry Pi RP2350\nBoard-ID: RP2350\n"
    first, second = bootsel(tmp_path / "a"), bootsel(tmp_path / "b", other)
    mount(alone, first)
    mount(alone, second)
    said = fails(capsys, "flash", "pico", path)
    assert "several" in said and str(first) in said and "RP2350" in said
    said = fails(capsys, "flash", "pico", path, "--port", second)
    assert "RP2350" in said and "not of an RP2040" in said
    assert not list(second.glob("*.uf2"))
    assert "no UF2 drive" in fails(capsys, "flash", "pico", path, "--port", tmp_path)


def test_every_byte_arrives_and_the_drive_goes(alone, tmp_path):
    data = rp2040_uf2(size=600 * 1024)
    folder = bootsel(tmp_path / "RPI-RP2")
    rom = BootROM(folder, len(data))
    rom.start()
    drive = drives.drive_at(folder)
    flash_uf2.copy(data, drive)
    rom.join()
    assert rom.taken == data
    assert not drive.there


def test_a_board_that_does_not_take_the_image_is_reported(tmp_path):
    folder = bootsel(tmp_path / "RPI-RP2")
    with pytest.raises(UserError, match="did not take the image"):
        flash_uf2.copy(rp2040_uf2(), drives.drive_at(folder), gone_wait_s=0.3)


def test_a_board_that_restarts_under_the_last_block_has_taken_the_image(tmp_path, monkeypatch):
    folder = bootsel(tmp_path / "RPI-RP2")
    data = rp2040_uf2(size=100 * 1024)
    real = os.fsync

    def fsync(fd):
        real(fd)
        if (folder / "firmware.uf2").stat().st_size == len(data):
            (folder / drives.INFO).unlink()
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fsync)
    flash_uf2.copy(data, drives.drive_at(folder))
    assert (folder / "firmware.uf2").read_bytes() == data


def test_an_error_before_the_last_block_is_reported(tmp_path, monkeypatch):
    folder = bootsel(tmp_path / "RPI-RP2")

    def fsync(fd):
        (folder / drives.INFO).unlink()
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(UserError, match="Input/output error"):
        flash_uf2.copy(rp2040_uf2(size=100 * 1024), drives.drive_at(folder))


def test_a_drive_that_cannot_be_written_is_reported(tmp_path):
    folder = bootsel(tmp_path / "RPI-RP2")
    (folder / "firmware.uf2").mkdir()
    with pytest.raises(UserError, match="cannot write to .*: Is a directory"):
        flash_uf2.copy(rp2040_uf2(), drives.drive_at(folder))


def test_picotool_takes_over_where_no_drive_is_found(capsys, alone, tmp_path, monkeypatch):
    tool, log = tmp_path / "picotool", tmp_path / "log"
    tool.write_text(f'#!/bin/sh\necho "$1 $2 $3" >> {log}\ncp "$4" {tmp_path}/taken.uf2\nexit 0\n')
    tool.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda name: str(tool) if name == "picotool" else None)
    monkeypatch.setattr(flash_uf2, "_PORT_WAIT_S", 0.3)
    path = tmp_path / "fw.uf2"
    path.write_bytes(rp2040_uf2())
    assert "no port of it appeared" in fails(capsys, "flash", "pico", path)
    assert log.read_text() == "load -v -x\n"
    assert (tmp_path / "taken.uf2").read_bytes() == path.read_bytes()
    tool.write_text(
        '#!/bin/sh\necho "No accessible RP-series devices in BOOTSEL mode" >&2\nexit 249\n'
    )
    said = fails(capsys, "flash", "pico", path)
    assert (
        "picotool failed: No accessible RP-series devices" in said and "hold its BOOTSEL" in said
    )


def test_erase_asks_first(capsys, alone, tmp_path, monkeypatch):
    path = tmp_path / "fw.uf2"
    path.write_bytes(rp2040_uf2())
    folder = bootsel(tmp_path / "RPI-RP2")
    mount(alone, folder)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert run("flash", "pico", path, "--erase") == 1
    assert "stopped" in capsys.readouterr().err
    assert not list(folder.glob("*.uf2"))
    rom = BootROM(folder, 4 * 1024 * 1024)
    rom.start()
    monkeypatch.setattr(flash_uf2, "_PORT_WAIT_S", 0.3)
    fails(capsys, "flash", "pico", path, "--erase", "--yes")
    rom.join()
    assert len(rom.taken) == 4 * 1024 * 1024


def test_ports_are_ranked_and_ambiguity_is_refused(monkeypatch):
    class Info:
        def __init__(self, device, vid=None, pid=None, serial=None):
            self.device, self.vid, self.pid, self.serial_number = device, vid, pid, serial
            self.description, self.manufacturer = "n/a", None

    seen = [Info("/dev/ttyS0"), Info("/dev/ttyACM1", 0x2E8A, 0x000C), Info("COM9", 0x1234, 1)]
    monkeypatch.setattr("serial.tools.list_ports.comports", lambda: seen)
    monkeypatch.delenv(ports.ENV, raising=False)
    with pytest.raises(ports.NoBoard, match="debug probe"):
        ports.choose_port()
    seen.append(Info("COM7", 0x1A86, 0x7523))
    assert ports.choose_port() == "COM7"
    seen.append(Info("COM4", 0x2E8A, 0x0005, "E660"))
    assert ports.choose_port() == "COM4"
    assert [p.kind for p in ports.find_ports()] == ["native", "uart", "other", "other", "other"]
    seen.append(Info("COM5", 0x303A, 0x1001, "F1F2"))
    with pytest.raises(ports.PortError, match="several boards.*--port"):
        ports.choose_port()
    assert ports.choose_port(vids=[0x303A]) == "COM5"
    assert ports.choose_port("id:E660") == "COM4"
    with pytest.raises(ports.PortError, match="serial number"):
        ports.choose_port("id:none")
    assert ports.choose_port("COM12") == "COM12"
    monkeypatch.setenv(ports.ENV, "COM5")
    assert ports.choose_port() == "COM5"
    with pytest.raises(ports.PortError, match="does not exist"):
        ports.choose_port("/dev/no-such-port")
