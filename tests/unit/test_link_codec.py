from mcp_gw.transports.link import decode, encode


def frame(channel, payload):
    return b"".join(bytes(p) for p in encode(channel, payload))


def test_round_trip():
    for parts in ([], [b"{}"], [b"pi ", memoryview(b'{"jsonrpc":"2.0"}')], [b"x" * 70000]):
        line = frame(b"u", parts)
        assert line[:1] == b"\x1e" and line[-1:] == b"\n"
        channel, start, end = decode(line, 0, len(line) - 1)
        assert channel == ord("u")
        assert line[start:end] == b"".join(bytes(p) for p in parts)


def test_known_bytes():
    # CRC-32 of b'h{"v":1}' from zlib.
    assert frame(b"h", [b'{"v":1}']) == b'\x1eh 7 7f9b5c24 {"v":1}\n'


def test_every_single_bit_error_is_noticed():
    line = bytearray(frame(b"s", [b'{"pi":true}']))
    for i in range(len(line) - 1):
        for bit in range(8):
            line[i] ^= 1 << bit
            try:
                channel, start, end = decode(line, 0, len(line) - 1)
                # Only the case of a hexadecimal digit may change without harm.
                assert (channel, bytes(line[start:end])) == (ord("s"), b'{"pi":true}')
            except ValueError:
                pass
            line[i] ^= 1 << bit


def test_cut_frames_are_refused():
    line = frame(b"h", [b'{"v":1}'])
    for end in range(len(line) - 1):
        try:
            decode(line, 0, end)
        except ValueError as e:
            assert str(e) in ("header", "length", "crc")
        else:
            raise AssertionError("accepted %r" % line[:end])
