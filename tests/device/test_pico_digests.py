"""What the Pico's firmware computes in less flash than stock MicroPython: SHA-1 and AES."""

import hashlib

import targets
from mcpgw.sim import PicoSim

# Around the ends of blocks, and of the room for the length.
SIZES = (0, 1, 55, 56, 63, 64, 65, 119, 120, 127, 128, 1000)
# FIPS 197, appendix C: key, cipher text of 00112233..ff.
AES = (
    ("000102030405060708090a0b0c0d0e0f", "69c4e0d86a7b0430d8cdb78070b4c55a"),
    (
        "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
        "8ea2b7ca516745bfeafc49904b496089",
    ),
)
SCRIPT = f"""
import cryptolib, hashlib
from binascii import hexlify, unhexlify
for n in {SIZES}:
    h = hashlib.sha1()
    data = bytes((i * 7 + n) & 255 for i in range(n))
    h.update(data[: n // 3])
    h.update(data[n // 3 :])
    print(hexlify(h.digest()).decode())
plain = unhexlify('00112233445566778899aabbccddeeff')
for key, _ in {AES}:
    code = cryptolib.aes(unhexlify(key), 1).encrypt(plain)
    assert cryptolib.aes(unhexlify(key), 1).decrypt(code) == plain
    print(hexlify(code).decode())
"""


def test_sha1_and_aes(tmp_path):
    with PicoSim(targets.firmware("pico"), flash=tmp_path / "flash.img", speed=0) as sim:
        lines = targets.run(sim, SCRIPT).split()
    texts = (bytes((i * 7 + n) & 255 for i in range(n)) for n in SIZES)
    assert lines == [hashlib.sha1(text).hexdigest() for text in texts] + [row[1] for row in AES]
