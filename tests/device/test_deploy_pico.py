"""`mcpgw deploy`, `doctor` and `flash` against the real firmware on the emulated Pico."""

import hashlib
import json
import random
import subprocess
import threading

import pytest
import soak
import targets
from board_command import mcpgw
from mcpgw import drives, flash_uf2, uf2
from mcpgw.board import find_board
from mcpgw.hello import await_gateway
from mcpgw.ports import Port
from mcpgw.sim import PicoSim
from waiting import PATIENCE_S

APP = """\
from mcp_gw import Gateway
import parts.number
gw = Gateway("deployed", version=parts.number.VERSION)
@gw.tool("Its number")
def number():
    return parts.number.N
gw.run()
"""
SINGLE = 'from mcp_gw import Gateway\nGateway("single", version="1").run()\n'


@pytest.fixture(scope="module")
def sim(tmp_path_factory):
    folder = tmp_path_factory.mktemp("deploy")
    board = PicoSim(
        targets.firmware("pico"), flash=folder / "flash.img", link=folder / "pico", speed=4
    )
    with board:
        yield board


@pytest.fixture
def board(sim):
    """The emulated Pico, powered, with nothing deployed on it."""
    if not sim.running:
        sim.restart()
    targets.run(sim, WIPE)
    return sim


WIPE = """
import os
def wipe(folder):
    for name, kind, *_ in os.ilistdir(folder):
        path = folder + '/' + name
        if kind == 0x4000:
            wipe(path)
            os.rmdir(path)
        else:
            os.remove(path)
wipe('')
"""
TREE = """
import os, json, hashlib, binascii
def walk(folder):
    for name, kind, *_ in os.ilistdir(folder or '/'):
        path = folder + '/' + name
        if kind == 0x4000:
            yield from walk(path)
        else:
            with open(path, 'rb') as f:
                yield path, binascii.hexlify(hashlib.sha256(f.read()).digest()).decode()
print(json.dumps(dict(walk(''))))
"""


def tree(sim):
    """{path: SHA-256} of every file on the board but the list that deploy keeps."""
    found = json.loads(targets.run(sim, TREE))
    return {path: digest for path, digest in found.items() if path != "/.mcpgw/files.json"}


def sha(data):
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()


def make_app(folder, number=1, size=0):
    """An app of two files; parts/number.py is padded to about size bytes."""
    (folder / "parts").mkdir(parents=True, exist_ok=True)
    (folder / "main.py").write_text(APP)
    padding = "".join(f"# {n:060}\n" for n in range(size // 63))
    source = f"N = {number}\nVERSION = '{number}.0'\n{padding}"
    (folder / "parts" / "number.py").write_text(source)
    return folder


def test_an_app_arrives_whole_and_serves(board, tmp_path):
    app = make_app(tmp_path / "app", size=8000)
    out, _ = mcpgw(board, "deploy", app)
    assert "deployed 1.0 serves on" in out
    expected = {f"/{p.relative_to(app)}": sha(p.read_bytes()) for p in app.rglob("*.py")}
    assert tree(board) == expected


def test_only_what_changed_is_sent(board, tmp_path):
    app = make_app(tmp_path / "app", size=8000)
    mcpgw(board, "deploy", app)
    before = board.status()["operations"]
    out, _ = mcpgw(board, "deploy", app)
    assert "nothing changed" in out and "deployed 1.0 serves" in out
    assert board.status()["operations"] == before
    (app / "parts" / "more.py").write_text("X = 1\n")
    out, _ = mcpgw(board, "deploy", app)
    assert "parts/more.py" in out and "number.py" not in out and "2 unchanged" in out
    (app / "parts" / "more.py").unlink()
    make_app(app, number=2, size=8000)
    out, _ = mcpgw(board, "deploy", app)
    assert "deployed 2.0 serves" in out and "removed" in out
    assert set(tree(board)) == {"/main.py", "/parts/number.py"}


def test_one_file_becomes_main_and_others_go_beside_it(board, tmp_path):
    (tmp_path / "greenhouse.py").write_text(SINGLE)
    (tmp_path / "table.bin").write_bytes(bytes(range(256)) * 3)
    folder = tmp_path / "fonts"
    folder.mkdir()
    (folder / "a.txt").write_text("a")
    (folder / ".hidden").write_text("no")
    mcpgw(
        board,
        "deploy",
        tmp_path / "greenhouse.py",
        "--with",
        tmp_path / "table.bin",
        "--with",
        folder,
    )
    expected = {
        "/main.py": sha(SINGLE),
        "/table.bin": sha(bytes(range(256)) * 3),
        "/fonts/a.txt": sha("a"),
    }
    assert tree(board) == expected


def test_a_compiled_app_serves(board, tmp_path):
    out, _ = mcpgw(board, "deploy", make_app(tmp_path / "app"), "--mpy")
    assert "deployed 1.0 serves" in out
    assert set(tree(board)) == {"/main.py", "/parts/number.mpy"}


def test_a_syntax_error_is_refused_before_the_board_is_touched(board, tmp_path):
    (tmp_path / "old.py").write_text(SINGLE)
    mcpgw(board, "deploy", tmp_path / "old.py")
    before = board.status()
    app = make_app(tmp_path / "app")
    (app / "parts" / "number.py").write_text("N = 1\nVERSION = '1\n")
    _, err = mcpgw(board, "deploy", app, code=1)
    assert "number.py:2: SyntaxError" in err
    after = board.status()
    assert (after["operations"], after["received"]) == (before["operations"], before["received"])


def test_a_failure_at_start_shows_its_traceback(board, tmp_path):
    app = make_app(tmp_path / "app")
    (app / "parts" / "number.py").write_text("N = 1\nprint('hi')\nVERSION = 1 / 0\n")
    _, err = mcpgw(board, "deploy", app, code=1)
    assert 'File "parts/number.py", line 3' in err and "hi" in err
    assert err.splitlines()[-1].endswith("ZeroDivisionError: divide by zero"), err
    (tmp_path / "ends.py").write_text("print('done')\n")
    _, err = mcpgw(board, "deploy", tmp_path / "ends.py", code=1)
    assert "ended without serving" in err and "done" in err
    (tmp_path / "loops.py").write_text("while True: pass\n")
    _, err = mcpgw(board, "deploy", tmp_path / "loops.py", "--wait", "2", code=1)
    assert "no gateway answered within 2" in err


def test_a_strangers_main_is_replaced_only_when_asked(board, tmp_path):
    targets.run(board, f"f = open('main.py', 'w')\nf.write({SINGLE!r})\nf.close()")
    (tmp_path / "new.py").write_text(SINGLE.replace("single", "new"))
    _, err = mcpgw(board, "deploy", tmp_path / "new.py", code=1)
    assert "main.py on the board was not put there by deploy" in err and "--yes" in err
    assert tree(board)["/main.py"] == sha(SINGLE)
    out, _ = mcpgw(board, "deploy", tmp_path / "new.py", "--yes")
    assert "new 1 serves" in out


def test_after_a_refusal_the_old_app_serves_on(board, tmp_path):
    (tmp_path / "old.py").write_text(SINGLE)
    mcpgw(board, "deploy", tmp_path / "old.py")
    big = tmp_path / "big.bin"
    big.write_bytes(random.Random(1).randbytes(600 * 1024))
    _, err = mcpgw(board, "deploy", tmp_path / "old.py", "--with", big, code=1)
    assert "not enough room on the board" in err
    findings = doctor(board)
    assert findings["gateway"]["found"] == "single 1 is serving"


def test_remove_takes_back_what_was_deployed_and_nothing_else(board, tmp_path):
    app = make_app(tmp_path / "app")
    targets.run(board, "f = open('own.txt', 'w')\nf.write('mine')\nf.close()")
    mcpgw(board, "deploy", app)
    out, _ = mcpgw(board, "deploy", "--remove")
    assert "main.py  removed" in out and "parts/number.py  removed" in out
    found = targets.run(board, "import os\nprint(os.listdir('/'))")
    assert found.strip() == "['own.txt']"
    out, _ = mcpgw(board, "deploy", "--remove")
    assert "nothing was deployed" in out
    mcpgw(board, "deploy", app)
    targets.run(board, "f = open('parts/number.py', 'a')\nf.write('# edited')\nf.close()")
    out, _ = mcpgw(board, "deploy", "--remove")
    assert "parts/number.py  kept" in out
    assert set(tree(board)) == {"/own.txt", "/parts/number.py"}


def test_a_power_cut_leaves_every_file_whole(board, tmp_path, seed):
    """Cut at points all over a deployment: each file is the old one or the new one, main.py is new
    only where all are, and a second deployment completes the first."""
    old = make_app(tmp_path / "old", number=1, size=6000)
    new = make_app(tmp_path / "new", number=2, size=7000)
    (new / "main.py").write_text(APP.replace("deployed", "renewed"))
    (new / "parts" / "extra.py").write_text("E = 1\n" * 400)
    before = {f"/{p.relative_to(old)}": sha(p.read_bytes()) for p in old.rglob("*.py")}
    after = {f"/{p.relative_to(new)}": sha(p.read_bytes()) for p in new.rglob("*.py")}
    mcpgw(board, "deploy", old)
    start = board.status()["operations"]
    mcpgw(board, "deploy", new)
    total = board.status()["operations"] - start
    rng = random.Random(seed)
    # The renames are among the last operations.
    few = 20 if soak.SOAK else 1
    points = {1, total - 1, *rng.choices(range(2, total), k=few)}
    points.update(rng.choices(range(total - 16, total), k=few))
    outcomes = set()
    for n in sorted(points):
        mcpgw(board, "deploy", old, "--no-run")
        board.power_cut_at(n, mode=rng.choice(("prefix", "bits")), seed=rng.randrange(1 << 30))
        _, err = mcpgw(board, "deploy", new, "--no-run", code=None)
        if board.running:  # littlefs needed fewer operations this time: the cut never came
            assert not err
            board.power_cut_at(0)
        else:
            assert "lost the board" in err
            board.restart()
        found = {p: d for p, d in tree(board).items() if not p.startswith("/.mcpgw/")}
        for path, digest in found.items():
            assert digest in (before.get(path), after.get(path)), (n, path)
        assert {"/main.py", "/parts/number.py"} <= set(found), n
        if found["/main.py"] == after["/main.py"]:
            assert found == after, n
        outcomes.add("old" if found == before else "new" if found == after else "between")
        mcpgw(board, "deploy", new, "--no-run")
        assert tree(board) == after
    out, _ = mcpgw(board, "deploy", new)
    assert "renewed 2.0 serves" in out
    assert "old" in outcomes, outcomes


def test_after_a_power_cut_in_the_transfer_the_old_app_serves(board, tmp_path):
    (tmp_path / "app.py").write_text(SINGLE)
    mcpgw(board, "deploy", tmp_path / "app.py")
    big = tmp_path / "big.bin"
    big.write_bytes(random.Random(2).randbytes(20000))
    board.power_cut_at(40)
    _, err = mcpgw(board, "deploy", tmp_path / "app.py", "--with", big, code=1)
    assert "lost the board" in err
    board.restart()
    assert doctor(board)["gateway"]["found"] == "single 1 is serving"
    assert set(tree(board)) == {"/main.py"} | {p for p in tree(board) if "/.mcpgw/" in p}


def doctor(sim, code=0, serving=True):
    """{what: finding} of the board. serving: wait until its gateway answers, since the doctor does
    not wait for one that may not be there."""
    if serving:
        with sim.open() as line:
            await_gateway(line, PATIENCE_S, restarted=False)
    out, _ = mcpgw(sim, "doctor", "--json", code=code)
    return {c["what"]: c for c in json.loads(out) if c["area"] == "board"}


def test_doctor_knows_a_healthy_board(board, tmp_path):
    (tmp_path / "app.py").write_text(SINGLE)
    mcpgw(board, "deploy", tmp_path / "app.py")
    findings = doctor(board)
    assert {c["state"] for c in findings.values()} == {"ok"}, findings
    assert findings["gateway"]["found"] == "single 1 is serving"
    assert "frozen" in findings["mcp_gw"]["found"]
    assert findings["_mcpscan"]["found"] == "in C"
    assert findings["queue"]["found"].startswith("0 records, ")
    assert "deploy" in findings["app"]["found"]
    # It is serving again after the examination.
    assert doctor(board)["gateway"]["found"] == "single 1 is serving"


def test_doctor_names_what_is_wrong_and_changes_nothing(board):
    flash = "import board_flash, rp2\nflash = rp2.Flash(start=board_flash.QUEUE_START, len=8192)\n"
    targets.run(board, flash + "flash.writeblocks(1, b'no queue' * 512)")
    findings = doctor(board, code=1, serving=False)
    assert findings["queue"]["state"] == "missing" and "factory_reset" in findings["queue"]["todo"]
    assert findings["app"]["state"] == "note"
    kept = targets.run(board, flash + "b = bytearray(8)\nflash.readblocks(1, b, 0)\nprint(b)")
    assert "no queue" in kept
    targets.run(board, flash + "flash.ioctl(6, 1)")
    assert doctor(board, serving=False)["queue"]["state"] == "ok"


def test_doctor_and_deploy_say_when_the_board_is_busy_or_gone(board, tmp_path):
    with board.open(exclusive=True):
        _, err = mcpgw(board, "deploy", "--remove", code=1)
        assert "in use by another program" in err
    (tmp_path / "app.py").write_text(SINGLE)
    _, err = mcpgw(board, "deploy", tmp_path / "app.py", "--port", tmp_path / "none", code=1)
    assert "does not exist" in err


def test_the_firmware_we_build_passes_the_checks_and_is_what_runs(board):
    pico = find_board("pico")
    firmware = flash_uf2.check_image(pico, targets.firmware("pico"))
    assert firmware.gateway
    running = targets.run(board, "import sys\nprint(sys.version)")
    assert running.strip().endswith(firmware.version)


def test_picotool_reads_what_we_flash(tmp_path):
    picotool = targets.ROOT / "build/host/picotool/picotool/picotool"
    if not picotool.exists():
        pytest.skip("picotool is built with the firmware, unless MPY_DIR is used")
    firmware = flash_uf2.check_image(find_board("pico"), targets.firmware("pico"))
    erasing = tmp_path / "erasing.uf2"
    erasing.write_bytes(uf2.with_erase(firmware.image))
    for path in (firmware.path, erasing):
        done = subprocess.run([picotool, "info", str(path)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "family ID 'rp2040'" in done.stdout and "mcp_gw/gateway" in done.stdout


def test_flash_takes_a_running_board_through_its_boot_loader(tmp_path, monkeypatch, capsys):
    """From a serving gateway over machine.bootloader() and the drive to the new firmware. The
    drive is a folder here: the emulator has the boot ROM's USB disk not."""
    data = targets.firmware("pico").read_bytes()
    image = tmp_path / "firmware.uf2"
    image.write_bytes(data)
    folder = tmp_path / "RPI-RP2"
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/sdb1 {folder} vfat rw 0 0\n")
    monkeypatch.setattr(drives, "_MOUNTS", mounts)
    monkeypatch.setattr(drives, "_LABELS", tmp_path)
    taken = []

    def boot_rom(event):
        if event["event"] == "bootloader":
            threading.Thread(target=serve_drive, daemon=True).start()

    def serve_drive():
        folder.mkdir()
        (folder / drives.INFO).write_text("Model: Raspberry Pi RP2\nBoard-ID: RPI-RP2\n")
        target = folder / "firmware.uf2"
        while not (target.exists() and target.stat().st_size == len(data)):
            gone.wait(0.02)
        taken.append(target.read_bytes())
        (folder / drives.INFO).unlink()
        sim.stop()
        sim.start()

    gone = threading.Event()
    link = tmp_path / "pico"
    sim = PicoSim(image, flash=tmp_path / "flash.img", link=link, on_event=boot_rom)
    port = Port(str(link), "native", "Pico", 0x2E8A, 5)
    seen = lambda vids=None: [port] if link.exists() else []  # noqa: E731
    monkeypatch.setattr("mcpgw.ports.find_ports", seen)
    pico = find_board("pico")
    with sim:
        assert flash_uf2.write(pico, flash_uf2.check_image(pico, image)) == 0
    assert taken == [data]
    out = capsys.readouterr().out
    assert f"{link}: " in out and "restarting it" in out
    assert "runs MicroPython v1.25.0" in out and ", mcp_gw 0" in out
