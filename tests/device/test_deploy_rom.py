"""`mcpgw deploy --rom`: files into the ROM file system of the emulated Pico, used in place."""

import hashlib
import json
import random

import pytest
import soak
import targets
from board_command import mcpgw
from mcpgw.sim import PicoSim
from romfs import flash_with

APP = """\
from mcp_gw import Gateway
gw = Gateway("reader", version="1")
@gw.tool("How much of the model there is")
def size():
    with open("/rom/model.bin", "rb") as f:
        return len(memoryview(f))
gw.run()
"""
FILES = """
import os, json, hashlib, binascii, gc
gc.collect()
free = gc.mem_free()
least = free
def walk(folder):
    global least
    for name, kind, *_ in os.ilistdir(folder):
        path = folder + '/' + name
        if kind == 0x4000:
            yield from walk(path)
        else:
            with open(path, 'rb') as f:
                view = memoryview(f)
                h = hashlib.sha256(view)
                least = min(least, gc.mem_free())
                yield path, binascii.hexlify(h.digest()).decode()
print(json.dumps(dict(walk('/rom')) if 'rom' in os.listdir('/') else None))
print(free - least)
"""


def in_rom(sim):
    """{path: SHA-256} of what is at /rom, None without one."""
    files, taken = targets.run(sim, FILES).splitlines()
    assert int(taken) < 20_000  # however large the files are
    return json.loads(files)


def shas(files):
    return {f"/rom/{name}": hashlib.sha256(data).hexdigest() for name, data in files.items()}


def put(folder, files):
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture
def sim(tmp_path):
    with PicoSim(targets.firmware("pico"), flash=tmp_path / "flash.img", speed=4) as sim:
        yield sim


def test_files_arrive_in_place_and_only_what_changed_is_sent(sim, tmp_path, seed):
    rng = random.Random(seed)
    files = {"model.bin": rng.randbytes(30_000), "more/words.txt": b"a b c", "more/empty": b""}
    folder = put(tmp_path / "models", files)
    out, _ = mcpgw(sim, "deploy", "--rom", folder, "--no-run")
    assert "rom/model.bin" in out and "verified on the board" in out
    assert in_rom(sim) == shas(files)
    before = sim.status()["operations"]
    out, _ = mcpgw(sim, "deploy", "--rom", folder, "--no-run")
    assert "nothing changed in the ROM" in out and sim.status()["operations"] == before

    changed = bytearray(files["model.bin"])
    changed[25_000] ^= 1
    files["model.bin"] = bytes(changed)
    (tmp_path / "app.py").write_text(APP)
    out, _ = mcpgw(sim, "deploy", tmp_path / "app.py", "--rom", put(folder, files))
    assert "8192 sent" in out and "main.py" in out and "reader 1 serves" in out
    assert in_rom(sim) == shas(files)

    # Named files are all that is there afterwards.
    out, _ = mcpgw(
        sim, "deploy", "--rom", folder / "model.bin", "--rom", folder / "more/words.txt"
    )
    assert "reader 1 serves" in out
    files = {"model.bin": files["model.bin"], "words.txt": b"a b c"}
    assert in_rom(sim) == shas(files)


def test_it_is_the_image_that_tests_put_there(sim, tmp_path):
    files = {"a/b": b"1" * 5000, "c": b"2"}
    mcpgw(sim, "deploy", "--rom", put(tmp_path / "files", files), "--no-run")
    sim.stop()
    here = (tmp_path / "flash.img").read_bytes()
    there = flash_with(tmp_path / "other.img", files).read_bytes()
    rom = slice(655360, 1310720)
    assert here[rom] == there[rom]


def test_what_cannot_be_is_refused_and_the_old_files_stay(sim, tmp_path):
    files = {"kept": b"old"}
    mcpgw(sim, "deploy", "--rom", put(tmp_path / "old", files), "--no-run")
    big = tmp_path / "big.bin"
    big.write_bytes(bytes(655360))
    _, err = mcpgw(sim, "deploy", "--rom", big, code=1)
    assert "not enough room" in err and "655360 there" in err
    _, err = mcpgw(sim, "deploy", "--rom", tmp_path / "none", code=1)
    assert "does not exist" in err
    put(tmp_path / "twice", {"kept": b"other"})
    arguments = ["--rom", tmp_path / "old", "--rom", tmp_path / "twice"]
    _, err = mcpgw(sim, "deploy", *arguments, code=1)
    assert "would become /rom/kept" in err
    (tmp_path / "wrong.py").write_text("x = = 1\n")
    _, err = mcpgw(sim, "deploy", "--rom", tmp_path / "wrong.py", code=1)
    assert "SyntaxError" in err
    _, err = mcpgw(sim, "deploy", "--with", big, "--rom", tmp_path / "old", code=2)
    assert "say what to deploy" in err
    assert in_rom(sim) == shas(files)


def test_a_board_without_such_a_rom_says_so(cortex_m3, tmp_path):
    (tmp_path / "x").write_bytes(b"x")
    _, err = mcpgw(cortex_m3.sim, "deploy", "--rom", tmp_path / "x", "--no-run", code=1)
    assert "no ROM file system" in err


def test_a_power_cut_leaves_the_old_files_none_or_the_new_ones(tmp_path, seed):
    rng = random.Random(seed)
    old, new = {"m": rng.randbytes(9000), "o": b"old"}, {"m": rng.randbytes(9500), "n": b"new"}
    put(tmp_path / "new", new)
    flash = flash_with(tmp_path / "flash.img", old)
    outcomes = set()
    with PicoSim(targets.firmware("pico"), flash=flash, speed=4) as sim:
        start = sim.status()["operations"]
        mcpgw(sim, "deploy", "--rom", tmp_path / "new", "--no-run")
        total = sim.status()["operations"] - start
        assert in_rom(sim) == shas(new)
        for n in (1, total, *rng.choices(range(2, total), k=soak.count(1, 40))):
            sim.kill()
            flash_with(flash, old)
            sim.power_cut_at(n, mode=rng.choice(("prefix", "bits")), seed=rng.randrange(1 << 30))
            sim.start()
            mcpgw(sim, "deploy", "--rom", tmp_path / "new", "--no-run", code=None)
            assert not sim.running, n
            sim.restart()
            found = in_rom(sim)
            assert found in (None, shas(old), shas(new)), (n, found)
            outcomes.add("none" if found is None else "old" if found == shas(old) else "new")
        mcpgw(sim, "deploy", "--rom", tmp_path / "new", "--no-run")
        assert in_rom(sim) == shas(new)
    assert "none" in outcomes, outcomes
