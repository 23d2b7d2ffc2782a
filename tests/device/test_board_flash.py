"""The Pico's flash regions: what a fresh, a torn, a foreign and a full flash become at start."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from mcpgw.sim import PicoSim
from targets import firmware, run
from waiting import PATIENCE_S

PROFILE = Path(__file__).parents[2] / "boards/MCPGW_PICO/profile.json"
REGIONS = json.loads(PROFILE.read_text())["flash"]["regions"]
LFS, QUEUE, ROM = REGIONS["littlefs"], REGIONS["queue"], REGIONS["rom"]
FLASH_BYTES = 2 * 1024 * 1024
NOISE = bytes(range(256)) * 16  # a sector of something that is no file system

STATE = """
import board_flash, os
print(board_flash.problem)
print(os.listdir('/') if board_flash.problem is None else None)
"""


@pytest.fixture
def image(tmp_path):
    """The path of a flash image, erased."""
    path = tmp_path / "flash.img"
    path.write_bytes(b"\xff" * FLASH_BYTES)
    return path


def fill(image, region, data, at=0):
    with open(image, "r+b") as f:
        f.seek(region["start"] + at)
        f.write(data)


def content(image, region):
    start = region["start"]
    return image.read_bytes()[start : start + region["bytes"]]


def pico(image):
    return PicoSim(firmware("pico"), flash=image, speed=0)


def test_regions_are_where_the_profile_says(image):
    with pico(image) as sim:
        out = run(
            sim,
            """
import board_flash, os, rp2, vfs
s = os.statvfs('/')
print(s[0] * s[2], board_flash.LFS_LEN, board_flash.QUEUE_START, board_flash.QUEUE_LEN)
print(len(memoryview(rp2.Flash())), len(memoryview(vfs.rom_ioctl(2, 0))))
d = rp2.Flash(start=board_flash.QUEUE_START, len=board_flash.QUEUE_LEN)
d.writeblocks(0, b'queue' + b'\\xff' * 251, 0)
with open('/x', 'w') as f: f.write('y')
""",
        )
    assert out.split("\n")[:2] == [
        f"{LFS['bytes']} {LFS['bytes']} {LFS['bytes']} {QUEUE['bytes']}",
        f"{LFS['bytes'] + QUEUE['bytes']} {ROM['bytes']}",
    ]
    assert content(image, QUEUE).startswith(b"queue\xff")
    assert b"littlefs" in content(image, LFS)[:4096]
    assert content(image, ROM) == b"\xff" * ROM["bytes"]


def test_files_and_queue_survive_a_firmware_update(image):
    fill(image, QUEUE, NOISE)
    with pico(image) as sim:
        run(sim, "with open('/kept.txt', 'w') as f: f.write('still here')")
    with pico(image) as sim:  # loads the firmware again, as a flashing does
        assert run(sim, "print(open('/kept.txt').read())") == "still here\n"
    assert content(image, QUEUE)[:4096] == NOISE


def test_power_cut_in_every_operation_of_the_first_format(image):
    with pico(image) as sim:
        operations = sim.command("status")["operations"]
    assert operations >= 4
    for n in range(1, operations + 1):
        for mode in ("prefix", "bits"):
            image.write_bytes(b"\xff" * FLASH_BYTES)
            sim = pico(image)
            sim.power_cut_at(n, mode=mode, seed=n)
            sim.start()
            assert sim.wait_exit() == 137, f"operation {n} never came"
            with pico(image) as again:
                assert run(again, STATE) == "None\n[]\n", f"cut at {n} {mode}"


def test_what_is_no_file_system_is_left_alone_until_a_factory_reset(image):
    fill(image, LFS, NOISE)
    fill(image, LFS, NOISE, at=100 * 4096)
    fill(image, QUEUE, NOISE)
    before = content(image, LFS)
    with pico(image) as sim:
        assert "no file system" in run(sim, STATE)
        assert content(image, LFS) == before
        out = run(sim, "import board_flash; board_flash.factory_reset()\n" + STATE)
        assert out == "None\n[]\n"
        assert content(image, QUEUE)[:4096] == NOISE
        run(sim, "import board_flash; board_flash.factory_reset(queue=True)")
        assert content(image, QUEUE) == b"\xff" * QUEUE["bytes"]
    with pico(image) as sim:
        assert run(sim, STATE) == "None\n[]\n"


def test_a_damaged_superblock_is_not_formatted_over(image):
    with pico(image) as sim:
        run(sim, "for i in range(3):\n  with open('/%d' % i, 'w') as f: f.write('x' * 9000)")
    fill(image, LFS, b"\0" * 64)
    fill(image, LFS, b"\0" * 64, at=4096)
    before = content(image, LFS)
    with pico(image) as sim:
        assert "no file system" in run(sim, STATE)
    assert content(image, LFS) == before


def mpremote(sim, *words):
    command = [sys.executable, "-m", "mpremote", "connect", sim.port, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE_S)
    return done.stdout


def started(sim):
    """Press the reset button; returns what the app that was started has written to /who.txt."""
    sim.reset()
    with sim.open(timeout=PATIENCE_S) as port:
        port.write(b"\r")
        assert port.read_until(b">>> ").endswith(b">>> ")  # the app has ended
    return run(sim, "print(open('/who.txt').read())").strip()


def app(name):
    return f"with open('/who.txt', 'w') as f: f.write('{name} ' + __name__)\n"


HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}


def test_a_board_without_an_app_answers_mcp(image):
    with pico(image) as sim, sim.open(timeout=PATIENCE_S) as port:
        port.write(json.dumps(HELLO).encode() + b"\n")
        answer = json.loads(port.readline())
        assert answer["id"] == 1
        assert answer["result"]["serverInfo"]["name"] == "mcpgw"


def test_an_app_is_started_from_littlefs_before_one_from_the_rom_file_system(image, tmp_path):
    rom = tmp_path / "rom"
    rom.mkdir()
    (rom / "main.py").write_text(app("rom"))
    (rom / "model.bin").write_bytes(b"weights")
    romfs = tmp_path / "rom.romfs"
    with pico(image) as sim:
        mpremote(sim, "romfs", "--no-mpy", "--output", str(romfs), "build", str(rom))
        mpremote(sim, "romfs", "--partition", "0", "deploy", str(romfs))
        assert content(image, ROM).startswith(romfs.read_bytes())
        # used in place: the file's bytes are those in the flash
        out = run(
            sim,
            "import uctypes\n"
            "f = open('/rom/model.bin', 'rb')\n"
            "print(uctypes.addressof(f) - 0x10000000, f.read())",
        )
        address, data = out.split()
        assert data == "b'weights'"
        assert 0 < int(address) - ROM["start"] < len(romfs.read_bytes())
        assert started(sim) == "rom __main__"
        run(sim, f"with open('/main.py', 'w') as f: f.write({app('littlefs')!r})")
        assert started(sim) == "littlefs __main__"


# Up to 512 bytes of a file lie among the names, read into the file's cache as a whole.
FILES = """
import vfs
SIZES = 0, 1, 255, 256, 257, 511, 512, 513, 1023, 1024, 1025, 5000
def put(folder, key):
    for n in SIZES:
        with open('%s/%s%d' % (folder, key, n), 'wb') as f:
            f.write(bytes((i * 7 + n + ord(key)) & 255 for i in range(n)))
def look(folder, key):
    for n in SIZES:
        with open('%s/%s%d' % (folder, key, n), 'rb') as f:
            assert f.read() == bytes((i * 7 + n + ord(key)) & 255 for i in range(n)), n
"""
OTHERS = """
import sys
class Device:
    def __init__(self):
        self.image = open(sys.argv[1], 'r+b')
    def readblocks(self, n, buf, at=0):
        self.image.seek(START + n * 4096 + at)
        self.image.readinto(buf)
    def writeblocks(self, n, buf, at=None):
        self.image.seek(START + n * 4096 + (at or 0))
        self.image.write(buf)
    def ioctl(self, op, arg):
        if op == 6:
            self.writeblocks(arg, b'\\xff' * 4096)
        self.image.flush()
        return BLOCKS if op == 4 else 4096 if op == 5 else 0
dev = Device()
if NEW:
    vfs.VfsLfs2.mkfs(dev, progsize=256)
fs = vfs.VfsLfs2(dev, progsize=256)
vfs.mount(fs, '/x')
"""


def test_the_file_system_of_other_firmware_is_read_and_written(image):
    """By the unix build, whose littlefs has caches twice as large, as stock firmware's has."""

    def elsewhere(new, what):
        script = FILES + OTHERS + what + "\nvfs.umount('/x')\n"
        for name, value in ("NEW", new), ("START", LFS["start"]), ("BLOCKS", LFS["bytes"] // 4096):
            script = script.replace(name, str(value))
        done = subprocess.run(
            [firmware("unix"), "-c", script, image], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr

    elsewhere(True, "put('/x', 'a')")
    with pico(image) as sim:
        run(sim, FILES + "look('', 'a')\nput('', 'b')\nlook('', 'b')")
    elsewhere(False, "look('/x', 'a')\nlook('/x', 'b')\nput('/x', 'c')")
    with pico(image) as sim:
        run(sim, FILES + "for key in 'abc': look('', key)")
