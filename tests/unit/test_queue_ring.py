from mcp_gw.errors import QueueFull
from mcp_gw.queue.nor_fault import FaultNor
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
    assert mounted(RamNor(13)).max_body == 12 * 4064 // 4
    assert mounted(RamNor(80)).max_body == 65536
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


def large(n):
    """n bytes, no two pages of them alike."""
    return b"".join(b"%08d" % i for i in range(n // 8 + 1))[:n]


def test_records_larger_than_a_sector():
    dev = RamNor(20)
    ring = mounted(dev)
    ring.append(1, b"before", [b"b" * 1000])
    body = large(13000)
    parts = [body[:5], memoryview(body)[5:9000], b"", body[9000:]]
    handle = ring.append(2, b"large", parts, 2)
    ring.append(3, b"behind", [b"x"])
    for again in (ring, mounted(dev)):
        found = list(again.records())
        assert [(k, kind, n) for _, kind, k, n in found] == [
            (b"before", 1, 1000),
            (b"large", 2, 13000),
            (b"behind", 3, 1),
        ]
        assert again.count == 3 and found[1][0][0] == handle[0]
        assert again.payload(handle) == body
        buf = bytearray(4500)
        for offset in (0, 2900, 3100, 9000):
            wanted = body[offset : offset + 4500]
            assert again.read(handle, buf, offset)
            assert bytes(buf) == wanted + bytes(4500 - len(wanted))
    before = ring.free
    assert ring.ack(handle) and not ring.ack(handle) and ring.payload(handle) is None
    # Four parts: a header each, the whole's length once.
    assert ring.free - before == 4 * 20 + 5 + 4 + 13000 + 3
    assert [k for _, _, k, _ in mounted(dev).records()] == [b"before", b"behind"]
    # One that stays is moved along in its parts, while others go through the ring many times.
    kept = ring.append(2, b"kept", [body], 1)
    for i in range(700):
        ring.ack(ring.append(1, b"%d" % i, [bytes(900)]))
    ring = mounted(dev)
    assert ring.payload(kept) == body and ring.count == 3
    assert [ring.priority for _ in ring.records()] == [0, 0, 1]


def test_a_large_record_of_which_a_part_is_lost():
    dev = RamNor(20)
    ring = mounted(dev)
    body = large(9000)
    handle = ring.append(1, b"large", [body])
    ring.append(1, b"next", [b"n"])
    # A bit of its second part's body: the whole is counted and dropped once.
    addr = handle[1] + 4096 + 500
    dev.image[addr] ^= 1
    ring = mounted(dev)
    assert ring.count == 2 and ring.payload(handle) is None and ring.corrupt == 1
    assert [k for _, _, k, _ in ring.records()] == [b"next"] and ring.free == mounted(dev).free
    # Two bits of a part's header.
    handle = ring.append(1, b"large", [body])
    second = ring.find(handle[0] + 1, 0)
    dev.image[second + 2] ^= 3
    ring = mounted(dev)
    assert [k for _, _, k, _ in ring.records()] == [b"next"] and ring.damaged == 1
    before = ring.free
    ring.settle()
    # What was left of it is dropped before anything is written.
    assert ring.free > before and mounted(dev).damaged == 1 and mounted(dev).free == ring.free


def test_full_of_large_records():
    ring = mounted(RamNor(9))
    body = large(7000)
    handles = []
    try:
        while True:
            handles.append(ring.append(1, b"k", [body]))
    except QueueFull as e:
        assert "7024" in str(e)
    assert len(handles) == 4 and ring.free < 7100
    for _ in range(40):
        assert ring.ack(handles.pop(0))
        handles.append(ring.append(1, b"k", [body]))
    for handle in handles:
        assert ring.payload(handle) == body


def test_only_the_kinds_that_are_wanted():
    ring = mounted(RamNor(4))
    handles = [ring.append(i % 5, b"%d" % i, [bytes(200)], i % 3) for i in range(30)]
    found = [(k, kind, ring.priority) for _, kind, k, _ in ring.records(0, b"\x01\x04")]
    assert found == [(b"%d" % i, i % 5, i % 3) for i in range(30) if i % 5 in (1, 4)]
    after = handles[12][0]
    assert [k for _, _, k, _ in ring.records(after, b"\x02")] == [b"17", b"22", b"27"]
    assert list(ring.records(0, b"\x09")) == [] and list(ring.records(0, b"")) == []


def test_marks_are_kept():
    dev = RamNor(3)
    ring = mounted(dev)
    handle = ring.append(1, b"key", [b"payload"])
    assert ring.marks(handle) == 0
    for n in range(1, 11):
        assert ring.mark(handle)
        assert ring.marks(handle) == mounted(dev).marks(handle) == min(n, 7)
    other = ring.append(1, b"other", [b"payload"])
    ring.mark(other)
    for i in range(1000):
        ring.ack(ring.append(1, b"%d" % i, [bytes(200)]))
    assert ring.marks(other) == 1 and ring.marks(handle) == 7
    assert ring.find(*other) != other[1], "it was not moved"
    ring.ack(other)
    assert not ring.mark(other) and ring.marks(other) == 0


def test_a_sector_is_erased_ahead():
    dev = FaultNor(RamNor(4))
    ring = mounted(dev)
    assert not ring.idle(), "there is nothing to get ready for yet"
    ring.append(1, b"k", [bytes(3000)])
    erases = dev.erases
    assert ring.idle() and not ring.idle() and dev.erases == erases + 1
    # Its erase count is kept, although it has no header yet.
    worn = ring.wear()
    assert worn == mounted(dev).wear()
    ring.append(1, b"k", [bytes(3000)])
    assert dev.erases == erases + 1 and ring.wear() == worn
    # A start later it is not known how well it was erased.
    ring.idle()
    ring = mounted(dev)
    ring.append(1, b"k", [bytes(3000)])
    assert dev.erases == erases + 3


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
    # Nothing but the void slot, and before it the marks (byte 18).
    changed = [i for i in range(4096) if before[i] != after[i]]
    assert 0 < len(changed) <= 17 and changed[-1] - changed[0] <= 18


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
