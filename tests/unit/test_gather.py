from mcp_gw.protocol import scan as twin

try:
    import _mcpscan

    BOTH = (_mcpscan.gather, twin.gather)
except ImportError:
    BOTH = (twin.gather,)


def test_parts_are_put_one_behind_the_other():
    for gather in BOTH:
        buf = bytearray(b"." * 10)
        assert gather([b"ab", memoryview(b"cdef")[1:3], bytearray(b"g"), b""], buf, 2) == 7
        assert buf == b"..abdeg..."
        assert gather((b"x" * 10,), buf, 0) == 10
        assert gather([], buf, 10) == 10


def test_what_does_not_fit_is_refused():
    for gather in BOTH:
        buf = bytearray(8)
        guard = memoryview(buf)[:4]
        assert gather([b"abcd", b"e"], guard, 0) == -1
        assert buf[4:] == b"\x00" * 4
        for at in (-1, 5):
            try:
                gather([], guard, at)
            except ValueError:
                pass
            else:
                raise AssertionError("took index %d" % at)
