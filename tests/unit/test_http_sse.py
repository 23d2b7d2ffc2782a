"""Server-sent events: tables of (bytes, cut at every size) -> events."""

from mcp_gw.protocol.http import TooLarge
from mcp_gw.protocol.sse import SSEDecoder

M = b"message"

# wire -> [(event, data)], last_id, retry
STREAMS = (
    (b"data: hello\n\n", [(M, b"hello")], b"", None),
    (b"data:hello\r\n\r\n", [(M, b"hello")], b"", None),
    (b"data: a\r\ndata: b\r\n\r\n", [(M, b"a\nb")], b"", None),
    (b"data: a\rdata: b\r\r", [(M, b"a\nb")], b"", None),
    (b"data: hello\r\r", [(M, b"hello")], b"", None),
    (b"data:  two spaces\n\n", [(M, b" two spaces")], b"", None),
    (b"\xef\xbb\xbfdata: bom\n\n", [(M, b"bom")], b"", None),
    (b"\xef\xbb\xbf\n\xef\xbb\xbfdata: second\n\ndata: x\n\n", [(M, b"x")], b"", None),
    (b'event: message\r\ndata: {"a":1}\r\n\r\n: ping\r\n\r\n', [(M, b'{"a":1}')], b"", None),
    (b"data: a\ndata: b\ndata\ndata:\n\n", [(M, b"a\nb\n\n")], b"", None),
    (b"data\n\n", [(M, b"")], b"", None),
    (b"data:\n\ndata: \n\n", [(M, b""), (M, b"")], b"", None),
    (b"id: 7\ndata:\nretry: 1500\n\ndata: x\n\n", [(M, b""), (M, b"x")], b"7", 1500),
    (b"id: 7\n\nid\ndata: x\n\n", [(M, b"x")], b"", None),
    (b"id: a\0b\ndata: x\n\n", [(M, b"x")], b"", None),
    (b"retry: 1x\nretry:\nretry: -1\nretry: 12345678901\ndata: x\n\n", [(M, b"x")], b"", None),
    (b"event: other\ndata: x\n\ndata: y\n\n", [(b"other", b"x"), (M, b"y")], b"", None),
    (b"event: lost\n\ndata: y\n\n", [(M, b"y")], b"", None),
    (b"event:\ndata: y\n\n", [(M, b"y")], b"", None),
    (
        b"Data: no\n data: no\ndata2: no\nda: no\ndatadatadatadatadata: no\n:data: no\n\n",
        [],
        b"",
        None,
    ),
    (b"\n\n\r\r\r\n\r\ndata: x\n\n", [(M, b"x")], b"", None),
    (b"data: \xc3\xa9\xe2\x82\xac\n\n", [(M, b"\xc3\xa9\xe2\x82\xac")], b"", None),
    (b"data: a:b: c\n\n", [(M, b"a:b: c")], b"", None),
    (b"data: not finished", [], b"", None),
    (b"data: not finished\n", [], b"", None),
    # What has not come as a whole has yet to be asked for again.
    (b"id: 1\ndata: x\n\nid: 2\ndata: not finished\n", [(M, b"x")], b"1", None),
    (b"id: 1\n\nid: 2\n", [], b"1", None),
    (b": " + b"c" * 3000 + b"\ndata: x\n\n", [(M, b"x")], b"", None),
    (b"n" * 3000 + b": v\n" + b"o" * 3000 + b"\ndata: x\n\n", [(M, b"x")], b"", None),
)


def decoded(decoder, wire, size):
    out = []
    for at in range(0, len(wire), size):
        piece = wire[at : at + size]
        pos = 0
        while decoder.next(piece, pos, len(piece)):
            assert pos < decoder.pos <= len(piece)
            pos = decoder.pos
            out.append((decoder.event, bytes(decoder.data)))
        assert decoder.pos == len(piece)
    return out


def test_streams_cut_at_every_size():
    for wire, events, last_id, retry in STREAMS:
        for size in range(1, min(len(wire), 80) + 1):
            decoder = SSEDecoder(100)
            assert decoded(decoder, wire, size) == events, (wire, size)
            assert (decoder.last_id, decoder.retry) == (last_id, retry), (wire, size)


def test_events_that_follow_each_other():
    one = b"id: 1\r\nevent: message\r\ndata: {}\r\n\r\n"
    for size in range(1, 120):
        assert decoded(SSEDecoder(2), one * 50, size) == [(M, b"{}")] * 50


def _too_large(wire, size, cap):
    try:
        decoded(SSEDecoder(cap), wire, size)
    except TooLarge:
        return True
    return False


def test_caps_and_one_byte_over():
    for size in (1, 3, 64, 5000):
        for wire in (b"data: " + b"x" * 100, b"data: " + b"x" * 50 + b"\ndata: " + b"x" * 49):
            assert len(decoded(SSEDecoder(100), wire + b"\n\n", size)[0][1]) == 100
            assert _too_large(wire + b"x", size, 100)
            assert not _too_large(wire, size, 100)
        assert _too_large(b"data\n" * 102, size, 100)
        for name in (b"id: ", b"event: ", b"retry: "):
            wire = name + b"1" * SSEDecoder.MAX_FIELD
            assert not _too_large(wire + b"\n", size, 100)
            assert _too_large(wire + b"1", size, 100)


def test_any_bytes_are_taken():
    letters = b"data: id:\r\n\n\r\xef\xbb\xbf\0evntry1"
    seed = 7
    for round in range(200):
        wire = bytearray()
        for _ in range(120):
            seed = (seed * 1103515245 + 12345) & 0x7FFFFFFF
            wire.append(letters[(seed >> 16) % len(letters)])
        wire = bytes(wire)
        whole = decoded(SSEDecoder(1000), wire, len(wire))
        for size in (1, 2, 3, 5, 17):
            assert decoded(SSEDecoder(1000), wire, size) == whole, (round, wire)
