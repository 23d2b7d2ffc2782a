"""The scanner's functions as Python sees them: arguments, kinds of buffer, no allocation."""

from array import array

from mcp_gw.protocol import framing as f
from mcp_gw.protocol import scan as twin

try:
    import _mcpscan as native
except ImportError:
    native = None

MODULES = (twin,) if native is None else (twin, native)


def raises(error, function, *args):
    try:
        function(*args)
    except error:
        return True
    return False


def test_arguments_are_checked():
    for module in MODULES:
        spans = array("i", [0] * f.SPANS_LEN)
        for start, end in ((-1, 2), (0, 3), (2, 1), (3, 3), (0, -1), (-2, -1)):
            assert raises(ValueError, module.scan, b"{}", start, end, spans, 4), (start, end)
            assert raises(ValueError, module.find, b"{}", 1, start, end)
            assert raises(ValueError, module.move, bytearray(2), start, end)
        for depth in (-1, 0, 129, 1 << 20):
            assert raises(ValueError, module.scan, b"{}", 0, 2, spans, depth)
        assert raises(ValueError, module.scan, b"{}", 0, 2, array("i", [0] * 25), 4)
        for byte in (-1, 256):
            assert raises(ValueError, module.find, b"{}", byte, 0, 2)
        assert module.scan(bytearray(), 0, 0, spans, 4) == f.E_SYNTAX
        assert module.scan(b"{}", 2, 2, spans, 4) == f.E_SYNTAX
        assert spans[f.ERROR_AT] == 2
    if native:
        for spans in (
            array("b", [0] * 128),
            array("I", [0] * 26),
            bytearray(128),
            array("f", [0] * 26),
        ):
            assert raises(ValueError, native.scan, b"{}", 0, 2, spans, 4)
        assert raises(TypeError, native.scan, b"{}", 0, 2, 5, 4)
        assert raises(TypeError, native.scan, 5, 0, 2, spans, 4)
        assert raises(TypeError, native.move, b"ab", 0, 1)
        # A view of part of an array is as good as an array.
        spans = array("i", [77] * (f.SPANS_LEN + 2))
        native.scan(b"{}", 0, 2, memoryview(spans)[1 : f.SPANS_LEN + 1], 4)
        assert (spans[0], spans[1], spans[f.SPANS_LEN + 1]) == (77, -1, 77)


def test_find_and_move():
    data = b"a\nb\n\xff"
    for module in MODULES:
        for buf in (data, bytearray(data), memoryview(data)):
            assert module.find(buf, 10, 0, 5) == 1
            assert module.find(buf, 10, 2, 5) == 3
            assert module.find(buf, 10, 2, 3) == -1
            assert module.find(buf, 255, 0, 5) == 4
            assert module.find(buf, 0, 0, 5) == -1
            assert module.find(buf, 97, 1, 1) == -1
        buf = bytearray(b"0123456789")
        module.move(buf, 3, 10)
        assert buf == b"3456789789"
        module.move(buf, 5, 5)
        module.move(buf, 0, 10)
        assert buf == b"3456789789"


def test_gather():
    for module in MODULES:
        buf = bytearray(b"........")
        parts = (b"ab", bytearray(), b"", memoryview(b"cde")[1:], bytearray(b"f"))
        assert module.gather(parts, buf, 1) == 6
        assert buf == b".abdef.."
        assert module.gather([], buf, 8) == 8
        assert module.gather([b"xyz"], buf, 5) == 8
        assert module.gather([b"xyz"], buf, 6) == -1
        assert module.gather([b"1", b"x" * 99], buf, 0) == -1
        assert len(buf) == 8
        assert module.gather([b"", bytearray()], bytearray(), 0) == 0
        for at in (-1, 9):
            assert raises(ValueError, module.gather, [], buf, at)
        assert raises(TypeError, module.gather, [5], buf, 0)


def test_native_scan_does_not_allocate():
    if native is None:
        return
    import micropython

    text = b'{"jsonrpc":"2.0","id":1,"method":"\\u0061","params":{}}'
    size = len(text)
    spans = f.new_spans()
    scan, find = native.scan, native.find
    micropython.heap_lock()
    try:
        result = scan(text, 0, size, spans, 8)
        at = find(text, 0x5C, 0, size)
    finally:
        micropython.heap_unlock()
    assert result == f.REQUEST and at == text.index(b"\\")
