"""Files in the ROM file system are used where they lie, without a copy on the heap."""

import hashlib
import json
import random

import pytest
import targets
from mcpgw import romfs
from mcpgw.sim import CortexM4FSim, PicoSim, SimError, cortex
from romfs import flash_with

XIP, PSRAM = 0x10000000, 0x21000000
IN_PLACE = """
import gc, hashlib, binascii, uctypes
gc.collect()
free = gc.mem_free()
f = open('/rom/models/big.bin', 'rb')
view = memoryview(f)
print(uctypes.addressof(view), len(view), free - gc.mem_free())
h = hashlib.sha256()
for at in range(0, len(view), 4096):
    h.update(view[at:at + 4096])
print(binascii.hexlify(h.digest()).decode())
import os
print(sorted(os.listdir('/rom')))
"""


def check_in_place(sim, data, low, high):
    address, digest, names = targets.run(sim, IN_PLACE).splitlines()
    at, size, taken = map(int, address.split())
    assert low <= at < high and at % 16 == 0
    assert size == len(data)
    assert taken < 500
    assert digest == hashlib.sha256(data).hexdigest()
    assert names == "['main.txt', 'models']"


def test_on_the_pico_from_a_flash_image(tmp_path, seed):
    data = random.Random(seed).randbytes(300_001)  # more than the chip's RAM
    files = {"models/big.bin": data, "main.txt": b"x"}
    flash = flash_with(tmp_path / "flash.img", files)
    with PicoSim(targets.firmware("pico"), flash=flash) as sim:
        check_in_place(sim, data, XIP + 655360, XIP + 1310720)
    # What else is in the flash stays when the ROM changes.
    with PicoSim(targets.firmware("pico"), flash=flash) as sim:
        targets.run(sim, "with open('/kept', 'w') as f: f.write('kept')")
    flash_with(flash, {"other": b"1"})
    with PicoSim(targets.firmware("pico"), flash=flash) as sim:
        out = targets.run(sim, "import os\nprint(os.listdir('/rom'), open('/kept').read())")
    assert out == "['other'] kept\n"


def test_on_the_cortex_m4f_from_an_image(tmp_path, seed):
    data = random.Random(seed).randbytes(300_001)
    image = tmp_path / "rom,1.img"
    image.write_bytes(romfs.build({"models/big.bin": data, "main.txt": b"x"}))
    with CortexM4FSim(targets.firmware("cortex-m4f"), rom=image) as sim:
        check_in_place(sim, data, PSRAM, PSRAM + (16 << 20))


def test_simulator_and_profiles_agree_on_where_the_rom_is(tmp_path):
    """The firmware's own idea of it is what the test above sees."""
    for name in ("MCPGW_CORTEX_M3", "MCPGW_CORTEX_M4F"):
        qemu = json.loads((targets.ROOT / "boards" / name / "profile.json").read_text())["qemu"]
        assert (qemu["rom_start"], qemu["rom_bytes"]) == (cortex.ROM_START, cortex.ROM_BYTES)
    big = tmp_path / "big.img"
    with open(big, "wb") as file:
        file.truncate(cortex.ROM_BYTES + 1)
    with pytest.raises(SimError, match="larger"):
        CortexM4FSim(targets.firmware("cortex-m4f"), rom=big).start()
