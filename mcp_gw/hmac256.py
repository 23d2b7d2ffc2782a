"""HMAC-SHA256 (RFC 2104), and a comparison that tells nothing through its time.

MicroPython has sha256 but no hmac module.
"""

from hashlib import sha256

from .compat import const

_BLOCK = const(64)


def hmac_sha256(key, *parts):
    """The 32 bytes of the code over `parts` (bytes-like each), one after the other.

    key: bytes of any length; 32 from a good source of randomness are as many as are of use.
    """
    if len(key) > _BLOCK:
        key = sha256(key).digest()
    inner = bytearray(b"\x36" * _BLOCK)
    outer = bytearray(b"\x5c" * _BLOCK)
    for i in range(len(key)):
        inner[i] ^= key[i]
        outer[i] ^= key[i]
    state = sha256(inner)
    for part in parts:
        state.update(part)
    outer.extend(state.digest())
    return sha256(outer).digest()


def same(a, b):
    """Whether two bytes-likes are equal. The time it takes depends on their lengths only, so that
    nobody can find a secret byte by byte."""
    if len(a) != len(b):
        return False
    difference = 0
    for i in range(len(a)):
        difference |= a[i] ^ b[i]
    return not difference
