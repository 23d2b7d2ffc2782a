"""`mcpgw doctor`: what it says about this machine, and its exit code."""

import importlib.metadata
import json
import os
import shutil
import sys

import pytest
from images import rp2040_uf2
from mcpgw import UserError, board, checks, checks_board, drives, ports
from mcpgw.cli import main

PICO = board.Board(
    "pico", "Pico", "rp2040", "uf2", "build/pico/firmware.uf2", 2 << 20, 640 << 10, "pico"
)


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine without a board, and an empty checkout; returns the checkout's folder."""
    monkeypatch.setattr("serial.tools.list_ports.comports", lambda: [])
    monkeypatch.setattr(drives, "_MOUNTS", tmp_path / "none")
    monkeypatch.setattr(drives, "_LABELS", tmp_path)
    monkeypatch.setattr(board, "tree_root", lambda: tmp_path)
    monkeypatch.setattr(board, "boards", lambda: {"pico": PICO})
    monkeypatch.delenv(ports.ENV, raising=False)
    return tmp_path


def doctor(capsys, *arguments):
    """(exit code, {what: finding}) of mcpgw doctor --json."""
    with pytest.raises(SystemExit) as stopped:
        main(["doctor", "--json", *arguments])
    findings = json.loads(capsys.readouterr().out)
    for finding in findings:
        assert set(finding) == {"area", "what", "state", "found", "todo"}
        assert finding["area"] in ("machine", "board")
        assert finding["state"] in ("ok", "note", "missing")
        assert finding["found"] and "\n" not in finding["found"]
    return stopped.value.code, {f["what"]: f for f in findings}


def test_nothing_essential_is_missing_here(capsys, machine):
    code, found = doctor(capsys)
    assert code == 0
    assert found["Python"]["state"] == "ok"
    assert found["Python packages"]["state"] == "ok"
    assert importlib.metadata.version("esptool") in found["Python packages"]["found"]
    assert found["image pico"] == {
        "area": "machine",
        "what": "image pico",
        "state": "note",
        "found": "not built",
        "todo": "make pico",
    }
    assert found["board"]["found"] == "none found" and "--port" in found["board"]["todo"]


def test_a_missing_package_is_essential(capsys, machine, monkeypatch):
    real = importlib.metadata.version

    def version(name):
        if name == "mpremote":
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    code, found = doctor(capsys, "--no-board")
    assert code == 1
    assert found["Python packages"]["state"] == "missing"
    assert found["Python packages"]["todo"] == "pip install mpremote"
    assert "board" not in found


def test_missing_tools_are_worth_a_note(capsys, machine, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.delenv("MPY_CROSS", raising=False)
    code, found = doctor(capsys)
    assert code == 0
    assert found["sim pico"]["state"] == "note" and "node" in found["sim pico"]["found"]
    assert found["sim cortex-m"]["todo"] == "apt install qemu-system-arm"
    assert found["picotool"]["state"] == "note"
    builds = found["firmware builds"]
    assert builds["state"] == "note" and "gcc-arm-none-eabi" in builds["todo"]


def test_built_images_are_checked(capsys, machine):
    path = machine / PICO.image
    path.parent.mkdir(parents=True)
    path.write_bytes(rp2040_uf2())
    code, found = doctor(capsys)
    assert code == 0 and found["image pico"]["found"].startswith("64 KB, MicroPython v1.25.0")
    path.write_bytes(rp2040_uf2()[:-512])
    code, found = doctor(capsys)
    assert code == 1 and "truncated" in found["image pico"]["found"]


def test_a_port_without_permission_is_essential(capsys, machine, monkeypatch):
    class Info:
        device, vid, pid, serial_number = os.devnull, 0x2E8A, 5, "E660"
        description = manufacturer = "Pico"

    monkeypatch.setattr("serial.tools.list_ports.comports", lambda: [Info()])
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    code, found = doctor(capsys, "--no-board")
    assert code == 1
    assert found["serial port"]["state"] == "missing" and "dialout" in found["serial port"]["todo"]


@pytest.mark.skipif(sys.platform != "linux", reason="groups are Linux's way")
def test_the_group_is_looked_at_before_a_board_is_there(capsys, machine, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "getgroups", lambda: [])
    monkeypatch.setattr(os, "getgid", lambda: 65534)
    code, found = doctor(capsys)
    assert code == 0 and "dialout" in found["serial permission"]["todo"]


def test_a_board_in_its_boot_loader_is_seen(capsys, machine, monkeypatch):
    folder = machine / "RPI-RP2"
    folder.mkdir()
    (folder / drives.INFO).write_text("Model: Raspberry Pi RP2\nBoard-ID: RPI-RP2\n")
    monkeypatch.setattr(drives, "_mount_points", lambda: [folder])
    _, found = doctor(capsys)
    assert found["boot loader drive"]["found"] == f"Raspberry Pi RP2 at {folder}"


def test_a_board_that_was_named_is_essential(capsys, machine):
    code, found = doctor(capsys, "--port", "/dev/no-such-port")
    assert code == 1
    assert found["board"]["state"] == "missing" and "does not exist" in found["board"]["found"]


def test_what_was_found_before_the_board_fell_silent_is_kept(capsys, machine, monkeypatch):
    def look(port):
        yield checks.Check("board", "gateway", checks.OK, "g 1 is serving")
        raise UserError(f"lost the board on {port}")

    monkeypatch.setattr(checks_board, "board", look)
    code, found = doctor(capsys, "--port", os.devnull)
    assert code == 1
    assert found["gateway"]["state"] == "ok"
    assert found["board"]["found"] == f"lost the board on {os.devnull}"


def test_the_table_says_what_to_do(capsys, machine):
    with pytest.raises(SystemExit) as stopped:
        main(["doctor"])
    out = capsys.readouterr().out
    assert stopped.value.code == 0
    assert "this machine" in out and "-> make pico" in out and "nothing is missing" in out
