"""LineBuffer: lines are cut at LF whatever the chunks, caps are exact, nothing is allocated."""

from mcp_gw.protocol import framing
from mcp_gw.protocol import scan as twin
from mcp_gw.protocol.framing import NAME, LineBuffer, find, move, new_spans, scan, text

try:
    import _mcpscan as native
except ImportError:
    native = None

STREAM = (
    b"one\r\n"
    b"\n"
    b"12345678\n"  # the cap
    b"12345678\r\n"
    b"123456789\n"  # one over
    b"123456789\r\n"
    b"1234567\r8\n"
    b"abcdefgh" + b"ijklmnop" * 9 + b"\r\n"
    b"two\r\r\n"
    b"\r\n"
    b"last\n"
)
LINES = [
    (1, b"one"),
    (1, b""),
    (1, b"12345678"),
    (1, b"12345678"),
    (2, b"12345678"),
    (2, b"12345678"),
    (2, b"1234567\r"),
    (2, b"abcdefgh"),
    (1, b"two\r"),
    (1, b""),
    (1, b"last"),
]
# Sizes of chunks, taken in turn.
CHUNKS = ((1,), (2,), (3,), (5,), (7,), (8,), (9,), (10,), (11,), (99,), (1, 7, 2, 10), (9, 1, 3))


def feed(lines, stream, sizes):
    """All (kind, bytes) that come out when the stream goes in by chunks of at most these sizes."""
    out = []
    at = 0
    turn = 0
    while at < len(stream):
        room = len(lines.buf) - lines.end
        assert room > 0, "no room left for the reader"
        n = min(sizes[turn % len(sizes)], room, len(stream) - at)
        turn += 1
        for i in range(n):
            lines.buf[lines.end + i] = stream[at + i]
        lines.end += n
        at += n
        while True:
            kind = lines.next()
            if kind == 0:
                break
            out.append((kind, bytes(lines.buf[lines.lo : lines.hi])))
    return out


def test_every_chunking():
    for sizes in CHUNKS:
        assert feed(LineBuffer(8), STREAM, sizes) == LINES, sizes


def test_with_the_python_twin():
    framing.find, framing.move = twin.find, twin.move
    try:
        for sizes in CHUNKS:
            assert feed(LineBuffer(8), STREAM, sizes) == LINES, sizes
    finally:
        framing.find, framing.move = find, move


def test_random_chunks():
    x = 7
    for _ in range(60):
        sizes = []
        for _ in range(9):
            x = (x * 1103515245 + 12345) & 0x3FFFFFFF
            sizes.append(1 + (x >> 10) % 12)
        assert feed(LineBuffer(8), STREAM * 2, sizes) == LINES * 2, sizes


def test_caps_are_exact():
    for cap in (1, 2, 63, 64, 65, 200):
        for end in (b"\n", b"\r\n"):
            for over in (0, 1, 2, cap, 5 * cap + 3):
                line = bytes((0x41 + i % 20) for i in range(cap + over))
                want = [(1 if over == 0 else 2, line[:cap]), (1, b"x")]
                for sizes in ((1,), (cap,), (cap + 1,), (cap + 2,), (3, 1)):
                    assert feed(LineBuffer(cap), line + end + b"x" + end, sizes) == want


def test_over_long_line_is_reported_before_it_ends():
    lines = LineBuffer(8)
    assert feed(lines, b"abcdefghijkl", (20,)) == [(2, b"abcdefgh")]
    assert feed(lines, b"x" * 100, (20,)) == []
    assert feed(lines, b"\nok\n", (20,)) == [(1, b"ok")]


def test_reset_forgets():
    lines = LineBuffer(8)
    assert feed(lines, b"half", (4,)) == []
    lines.reset()
    assert feed(lines, b"a\n", (4,)) == [(1, b"a")]
    assert feed(lines, b"x" * 30, (30,)) == [(2, b"xxxxxxxx")]
    lines.reset()
    assert feed(lines, b"b\n", (4,)) == [(1, b"b")]


def test_line_stays_valid_while_more_is_read():
    lines = LineBuffer(16)
    lines.buf[0:6] = b"one\ntw"
    lines.end = 6
    assert lines.next() == 1
    lines.buf[6:9] = b"o\n3"
    lines.end = 9
    assert lines.buf[lines.lo : lines.hi] == b"one"
    assert lines.next() == 1
    assert lines.buf[lines.lo : lines.hi] == b"two"
    assert lines.next() == 0
    assert (lines.end, lines.buf[0:1]) == (1, b"3")


def test_half_line_is_searched_and_moved_once():
    """Work per byte does not grow with the length of the line, nor with small chunks."""
    done = [0, 0]

    def count_find(buf, byte, start, end):
        at = find(buf, byte, start, end)
        done[0] += (end if at < 0 else at + 1) - start
        return at

    def count_move(buf, start, end):
        done[1] += end - start
        move(buf, start, end)

    framing.find, framing.move = count_find, count_move
    try:
        for sizes in ((1,), (100,), (4001, 1), (4002,)):
            done[0] = done[1] = 0
            stream = (b"x" * 3999 + b"\ny\n" + b"z" * 5000 + b"\n") * 3
            assert len(feed(LineBuffer(4000), stream, sizes)) == 9
            assert done[0] == len(stream) and done[1] <= len(stream), (sizes, done)
    finally:
        framing.find, framing.move = find, move


def run_locked(lines, chunk, rounds):
    """Lines that came out of `rounds` chunks with the heap locked."""
    import micropython

    size = len(chunk)
    count = 0
    micropython.heap_lock()
    try:
        for _ in range(rounds):
            buf = lines.buf
            end = lines.end
            i = 0
            while i < size:
                buf[end + i] = chunk[i]
                i += 1
            lines.end = end + size
            while lines.next():
                count += 1
    finally:
        micropython.heap_unlock()
    return count


def test_steady_state_does_not_allocate():
    if native is None:
        return
    # 11 bytes a round: lines of 8 bytes are cut at every place, and halves move down.
    assert run_locked(LineBuffer(16), b"abcdefg\nabcdefg\nabcdef", 0) == 0
    lines = LineBuffer(32)
    assert run_locked(lines, b"abc\nabcdefg", 1) == 1
    assert run_locked(lines, b"\nabcdefghij", 50) == 50
    # An over-long line too.
    lines = LineBuffer(8)
    assert run_locked(lines, b"abcdefghij", 1) == 1
    assert run_locked(lines, b"abcdefghij", 9) == 0
    assert run_locked(lines, b"abc\nabc\nx", 1) == 1


def name_of(params):
    message = b'{"jsonrpc":"2.0","method":"m","params":{"name":' + params + b"}}"
    buf = bytearray(b"##" + message)
    spans = new_spans()
    assert scan(buf, 2, len(buf), spans, 8) > 0
    return text(buf, spans, NAME)


def test_text():
    for params, want in (
        (b'""', ""),
        (b'"moisture"', "moisture"),
        (b'"Gr\xc3\xbc\xc3\x9fe \xf0\x9f\x98\x80"', "Grüße 😀"),
        (b'"a\\u00e9\\n\\"\\/"', 'aé\n"/'),
        (b'"\\ud83d\\ude00!"', "😀!"),
    ):
        assert name_of(params) == want, params
    # Half a surrogate pair is no character; whatever comes instead can be encoded.
    assert len(name_of(b'"x\\ud83d"').encode()) > 1


def test_find_is_the_builds_fastest():
    if native is not None:
        assert find is native.find
        assert scan is native.scan
