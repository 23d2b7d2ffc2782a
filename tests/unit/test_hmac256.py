"""HMAC-SHA256 against the vectors of RFC 4231, and the comparison."""

from binascii import hexlify, unhexlify

from mcp_gw.hmac256 import hmac_sha256, same

# RFC 4231, 4.2 to 4.8: key, data, code (the fifth is given cut to 16 bytes).
VECTORS = (
    (
        b"\x0b" * 20,
        b"Hi There",
        b"b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
    ),
    (
        b"Jefe",
        b"what do ya want for nothing?",
        b"5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
    ),
    (
        b"\xaa" * 20,
        b"\xdd" * 50,
        b"773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
    ),
    (
        bytes(range(1, 26)),
        b"\xcd" * 50,
        b"82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
    ),
    (b"\x0c" * 20, b"Test With Truncation", b"a3b6167473100ee06e0c796c2955552b"),
    (
        b"\xaa" * 131,
        b"Test Using Larger Than Block-Size Key - Hash Key First",
        b"60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
    ),
    (
        b"\xaa" * 131,
        b"This is a test using a larger than block-size key and a larger than block-size data. "
        b"The key needs to be hashed before being used by the HMAC algorithm.",
        b"9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
    ),
)


def test_vectors():
    for key, data, code in VECTORS:
        assert hexlify(hmac_sha256(key, data)).startswith(code), data


def test_parts_are_one_text():
    whole = hmac_sha256(b"key", b"one two three")
    assert hmac_sha256(b"key", b"one ", b"", bytearray(b"two "), memoryview(b"three")) == whole
    assert len(hmac_sha256(b"", b"")) == 32 and hmac_sha256(b"k") == hmac_sha256(b"k", b"")


def test_key_of_exactly_a_block():
    assert hmac_sha256(b"k" * 64, b"m") != hmac_sha256(b"k" * 65, b"m")
    assert hmac_sha256(b"k" * 63 + b"\0", b"m") == hmac_sha256(b"k" * 63, b"m")


def test_same():
    code = unhexlify(VECTORS[0][2])
    assert same(code, bytearray(code)) and same(b"", b"")
    assert not same(code, code[:-1]) and not same(code, code + b"\0")
    for i in range(32):
        other = bytearray(code)
        other[i] ^= 1
        assert not same(code, other)
