from mcp_gw.errors import QueueFull
from mcp_gw.queue.nor_kept import RamNor
from mcp_gw.queue.ring import NotAQueue, Ring, TooLarge


def mounted(dev):
    ring = Ring(dev)
    ring.mount()
    return ring


def contents(ring):
    return [
        (handle[0], kind, key, ring.payload(handle)) for handle, kind, key, _ in ring.records()
    ]


def test_append_is_there_after_a_mount():
    dev = RamNor(3)
    ring = mounted(dev)
    assert contents(ring) == [] and ring.count == 0
    a = ring.append(1, b"key-a", [b"hello ", memoryview(b"world")])
    b = ring.append(2, b"", [])
    want = [(a[0], 1, b"key-a", b"hello world"), (b[0], 2, b"", b"")]
    assert contents(ring) == want
    ring = mounted(dev)
    assert contents(ring) == want and ring.count == 2


def test_ack_is_durable_and_once():
    dev = RamNor(3)
    ring = mounted(dev)
    a = ring.append(1, b"a", [b"x"])
    b = ring.append(1, b"b", [b"y"])
    assert ring.ack(a) and not ring.ack(a)
    ring = mounted(dev)
    assert [k for _, _, k, _ in ring.records()] == [b"b"]
    assert not ring.ack(a) and ring.ack(b)
    assert mounted(dev).count == 0


def test_wraps_many_times_and_stays_in_order():
    for sectors in (3, 4, 7):
        dev = RamNor(sectors)
        ring = mounted(dev)
        live = []
        kept = ring.append(9, b"kept", [b"k" * 100])
        live.append((kept[0], b"k" * 100))
        for i in range(sectors * 300):
            body = bytes([i & 0xFF]) * (200 + i % 90)
            handle = ring.append(1, b"%d" % i, [body])
            live.append((handle[0], body))
            if len(live) > 7:
                seq = live.pop(1)[0]
                assert ring.ack((seq, 0))
            if i % 137 == 0:
                ring = mounted(dev)
            assert ring.count == len(live)
        assert [(s, body) for s, _, _, body in contents(ring)] == live
        # The handle of the first record still finds it, wherever it is by now.
        assert ring.payload(kept) == b"k" * 100
        wear = ring.wear()
        assert max(wear) > 18 and max(wear) - min(wear) <= 12, wear


def test_full_says_numbers_and_acks_make_room():
    ring = mounted(RamNor(3))
    handles = []
    try:
        while True:
            handles.append(ring.append(1, b"k", [b"x" * 256]))
    except QueueFull as e:
        assert "280 bytes" in str(e) and str(ring.capacity) in str(e)
    # One goes on in the second sector: a header, the whole's length.
    assert len(handles) == 28 and ring.capacity == 8128 and ring.free == 8128 - 28 * 280 - 24
    before = bytes(ring.dev.image)
    try:
        ring.append(1, b"k", [b"x" * 256])
        raise AssertionError("not full")
    except QueueFull:
        assert bytes(ring.dev.image) == before
    # Every other one gone: half of each sector is free, in pieces.
    for handle in handles[::2]:
        assert ring.ack(handle)
    for _ in range(13):
        ring.append(2, b"k", [b"y" * 256])
    assert [k for _, k, _, _ in ring.records()] == [1] * 14 + [2] * 13


def test_too_large_and_the_largest():
    ring = mounted(RamNor(3))
    handle = ring.append(1, b"", [bytes(ring.max_body)])
    assert ring.payload(handle) == bytes(ring.max_body) and ring.max_body == 4044
    try:
        ring.append(1, b"k", [bytes(ring.max_body)])
        raise AssertionError("too large was taken")
    except TooLarge as e:
        assert "4045" in str(e) and "4044" in str(e)
    assert ring.append(1, b"", [b"next"])


def test_iterating_while_acking_and_appending():
    ring = mounted(RamNor(5))
    for i in range(40):
        ring.append(1, b"%d" % i, [b"." * 250])
    seen = []
    extra = 0
    for handle, _, key, _ in ring.records():
        seen.append(key)
        if len(seen) % 3:
            ring.ack(handle)
        if extra < 20:
            ring.append(2, b"n%d" % extra, [b"," * 200])
            extra += 1
    assert seen == [b"%d" % i for i in range(40)] + [b"n%d" % i for i in range(20)]


def test_read_part_of_a_payload():
    ring = mounted(RamNor(3))
    handle = ring.append(1, b"key", [b"0123456789"])
    buf = bytearray(4)
    assert ring.read(handle, buf, 3) and buf == b"3456"
    ring.ack(handle)
    assert not ring.read(handle, buf, 3) and ring.payload(handle) is None


def test_foreign_data_is_never_formatted():
    for at in (0, 5000, 3 * 4096 - 1):
        dev = RamNor(3)
        dev.image[at] = 0x5A
        before = bytes(dev.image)
        ring = Ring(dev)
        for call in (ring.mount, lambda r=ring: r.append(1, b"k", [b"x"])):
            try:
                call()
                raise AssertionError("mounted foreign data")
            except NotAQueue:
                pass
        assert bytes(dev.image) == before
        ring.format()
        ring.append(1, b"k", [b"x"])
        assert mounted(dev).count == 1


def test_format_discards_everything_but_the_wear():
    dev = RamNor(3)
    ring = mounted(dev)
    for _ in range(200):
        ring.ack(ring.append(1, b"k", [b"x" * 200]))
    for i in range(20):
        ring.append(1, b"%d" % i, [b"x" * 200])
    worn = sum(ring.wear())
    ring.format()
    assert ring.count == 0 and contents(ring) == [] and sum(ring.wear()) == worn + 1
    ring = mounted(dev)
    assert ring.count == 0
    ring.append(1, b"k", [b"new"])
    assert [c[3] for c in contents(mounted(dev))] == [b"new"]


def damaged(last):
    """A ring of three records, two bits flipped in the header of the second or the last."""
    dev = RamNor(3)
    ring = mounted(dev)
    handles = [ring.append(1, b"%d" % i, [b"x" * 600]) for i in range(3)]
    addr = handles[2 if last else 1][1]
    dev.image[addr + 2] ^= 0x10
    dev.image[addr + 5] ^= 0x01
    return dev


def test_an_unreadable_header_loses_its_record_alone():
    ring = mounted(damaged(False))
    assert [k for _, _, k, _ in ring.records()] == [b"0", b"2"]
    assert (ring.damaged, ring.torn, ring.count) == (1, 0, 2)


def test_an_unreadable_last_record_is_not_written_over():
    dev = damaged(True)
    before = bytes(dev.image[4096:8192])
    ring = mounted(dev)
    assert [k for _, _, k, _ in ring.records()] == [b"0", b"1"] and ring.torn == 1
    for i in range(4):
        ring.append(1, b"new%d" % i, [b"y" * 700])
    for again in (ring, mounted(dev)):
        keys = [k for _, _, k, _ in again.records()]
        assert keys == [b"0", b"1"] + [b"new%d" % i for i in range(4)]
    after = bytes(dev.image[4096:8192])
    # Nothing but the void slot.
    changed = [i for i in range(4096) if before[i] != after[i]]
    assert 0 < len(changed) <= 16 and changed[-1] - changed[0] < 16


def test_a_flipped_header_bit_is_put_right():
    dev = RamNor(3)
    ring = mounted(dev)
    handle = ring.append(1, b"key", [b"payload"])
    for byte in range(20):
        for bit in range(8):
            dev.image[handle[1] + byte] ^= 1 << bit
            ring = mounted(dev)
            assert contents(ring) == [(1, 1, b"key", b"payload")]
            # The two mark bytes need no correction.
            assert ring.repaired == (byte not in (18, 19)) and ring.damaged == 0
            dev.image[handle[1] + byte] ^= 1 << bit
    for byte in range(32):
        for bit in range(8):
            dev.image[4096 + byte] ^= 1 << bit
            assert contents(mounted(dev)) == [(1, 1, b"key", b"payload")]
            dev.image[4096 + byte] ^= 1 << bit


class Stuck(RamNor):
    """Two bits in each of these bytes cannot be programmed any more."""

    stuck = ()

    def _program_page(self, addr, data):
        old = bytes(self.image[addr : addr + len(data)])
        super()._program_page(addr, data)
        for i in range(len(data)):
            if addr + i in self.stuck:
                self.image[addr + i] |= old[i] & 0x11


def test_stuck_cells_are_avoided():
    # In the first record's header, its body, and the second page.
    for at in (4096 + 32, 4096 + 32 + 100, 4096 + 256 + 5):
        dev = Stuck(4)
        dev.stuck = (at,)
        ring = mounted(dev)
        want = []
        for i in range(6):
            body = bytes([i]) * 180
            want.append((ring.append(1, b"%d" % i, [body])[0], 1, b"%d" % i, body))
        assert contents(ring) == want and ring.count == 6
        assert contents(mounted(dev)) == want


def test_flash_that_takes_nothing_is_an_error():
    dev = Stuck(3)
    ring = mounted(dev)
    ring.append(1, b"a", [b"x"])
    dev.stuck = range(3 * 4096)
    try:
        ring.append(1, b"b", [bytes(100)])
        raise AssertionError("no error")
    except OSError:
        pass
    dev.stuck = ()
    assert [k for _, _, k, _ in ring.records()] == [b"a"]
