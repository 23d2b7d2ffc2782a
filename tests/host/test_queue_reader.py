"""`mcpgw queue` reads what the board's own ring wrote: both find the same records after random
lives with power cuts and bit flips, and the ring takes a repaired image."""

import contextlib
import errno
import json
import random
from collections import Counter
from pathlib import Path

import pytest
import soak
from mcpgw.cli import main
from mcpgw.queue import QueueError, fields
from mcpgw.queue.image import LOST, Image, start_of
from mcpgw.queue.repair import repair

from mcp_gw.errors import QueueFull
from mcp_gw.queue import layout, ring_twin, updates
from mcp_gw.queue.log import NotAQueue
from mcp_gw.queue.nor_fault import MODES, FaultNor, PowerCut
from mcp_gw.queue.nor_kept import RamNor
from mcp_gw.queue.outbox import Outbox
from mcp_gw.queue.ring import Ring

SIZES = (0, 1, 40, 200, 256, 256, 700, 2000, 3900, 6000)


def image_of(dev):
    """The bytes as they read now, weak bits among them."""
    data = bytearray(dev.sectors * dev.sector_size)
    dev.read(0, data)
    return bytes(data)


def rows_of(ring):
    """{seq: (kind, key, priority, payload or None)} as the board's code finds them."""
    found = {}
    for handle, kind, key, _ in ring.records():
        found[handle[0]] = (kind, key, ring.priority)
    return {seq: (*row, ring.payload((seq, 0))) for seq, row in found.items()}


def board_reads(data):
    ring = Ring(RamNor(len(data) // 4096, data))
    ring.mount()
    return rows_of(ring)


def host_reads(image):
    return {row.seq: (row.kind, row.key, row.priority, row.payload) for row in image.records}


class Life:
    """One ring's life: appends, acks, marks and what a gateway does when it is idle."""

    def __init__(self, seed):
        self.rng = random.Random(seed)
        sectors = self.rng.choice((3, 4, 6, 9))
        self.dev = FaultNor(RamNor(sectors), self.rng.randrange(1 << 30))
        self.ring = Ring(self.dev)
        self.ring.mount()
        self.payloads = {}

    def append(self):
        rng = self.rng
        size = rng.choice(SIZES)
        body = rng.randbytes(size) if rng.random() < 0.8 else b"\xf9" * size
        key = rng.randbytes(rng.choice((0, 8, 32)))
        try:
            handle = self.ring.append(rng.randrange(1, 4), key, [body], rng.randrange(3))
        except QueueFull:
            self.ack()
            return
        self.payloads[handle[0]] = body

    def ack(self):
        handles = [row[0] for row in self.ring.records()]
        if handles:
            # Mostly the oldest, as a queue is emptied.
            handle = handles[0] if self.rng.random() < 0.7 else self.rng.choice(handles)
            self.ring.ack(handle)

    def mark(self):
        handles = [row[0] for row in self.ring.records()]
        if handles and hasattr(self.ring, "mark"):
            self.ring.mark(self.rng.choice(handles))

    def idle(self):
        if hasattr(self.ring, "idle"):
            self.ring.idle()

    def live(self, steps):
        for _ in range(steps):
            what = self.rng.choices((self.append, self.ack, self.mark, self.idle), (60, 30, 5, 5))
            what[0]()

    def cut(self):
        """Live on until the power fails in the middle of an operation."""
        self.dev.cut(self.rng.randrange(12), self.rng.choice(MODES))
        with contextlib.suppress(PowerCut):
            self.live(20)
        self.dev.power_on()


@pytest.mark.parametrize("number", range(soak.count(100, 5000)))
def test_both_find_the_same_after_power_cuts(number, seed):
    life = Life(f"{seed}/{number}")
    life.live(life.rng.randrange(40))
    for _ in range(6):
        life.cut()
        data = image_of(life.dev)
        image = Image(data)
        assert host_reads(image) == board_reads(data)
        # Cuts lose nothing that was there.
        assert image.worst != LOST, image.findings
        life.ring = Ring(life.dev)
        life.ring.mount()
        if life.rng.random() < 0.5:
            life.ring.settle()
            data = image_of(life.dev)
            assert host_reads(Image(data)) == board_reads(data)


def flipped(data, rng):
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5, 40))):
        at = rng.randrange(len(data))
        if rng.random() < 0.5:
            # Where headers are.
            at = at // 4096 * 4096 + rng.randrange(300)
        data[at] ^= 1 << rng.randrange(8)
    return bytes(data)


@pytest.mark.parametrize("number", range(soak.count(100, 5000)))
def test_both_find_the_same_after_bits_flipped(number, seed):
    life = Life(f"{seed}/{number}")
    life.live(60)
    whole = image_of(life.dev)
    for _ in range(8):
        data = flipped(whole, life.rng)
        try:
            boards = board_reads(data)
        except NotAQueue:  # all headers of a small one are damaged
            with pytest.raises(QueueError, match="no queue"):
                Image(data)
            continue
        image = Image(data)
        assert host_reads(image) == boards
        new = repair(image)
        assert host_reads(Image(new.data)) == board_reads(new.data)
        good = {seq: row for seq, row in boards.items() if row[3] is not None}
        assert board_reads(new.data) == good
        assert len(new.lost) == len(boards) - len(good)


def test_both_say_the_same_of_a_header():
    """Of few ones, few zeros, and of one of each kind with some bits of it changed."""
    rng = random.Random(1)
    names = {
        layout.VALID: {"valid"},
        layout.BLANK: {"blank"},
        layout.AHEAD: {"ahead"},
        layout.ZERO: {"retired"},
        layout.SUSPECT: {"suspect"},
        layout.JUNK: {"damaged", "given up", "retired"},  # a flipped bit of a retired one is told
    }
    found = Counter()
    good = bytearray(32)
    layout.pack_sector(good, 4096, 0, 7, 3, 9, 0)
    wear = good[8:12]
    for n in range(20_000):
        kinds = good, bytes(32), b"\xff" * 32, bytes(8) + wear + bytes(20)
        head = bytearray(kinds[n % 4])
        for _ in range(rng.choice((0, 1, 1, 2, 4, 12, 20))):
            bit = rng.choice((rng.randrange(256), rng.randrange(64, 96), rng.randrange(232, 256)))
            head[bit // 8] ^= 1 << bit % 8
        if n % 8 == 0:
            head[29] = 0
        if n % 16 == 0:
            head[30] = rng.choice((0, 0xFE, 0xFC))
        what = ring_twin.header(memoryview(bytes(head)), 0, bytearray(64))
        assert fields.sector_head(bytes(head)).what in names[what], head.hex()
        found[what] += 1
    assert min(found[what] for what in names) > 50, found


def test_two_headers_of_one_generation():
    """Firmware of before may have left them; both take the same one."""
    data, _ = stored()
    used = Image(data).records[-1].parts[-1].at // 4096
    for other in set(range(4)) - {used}:
        image = bytearray(data)
        image[other * 4096 : other * 4096 + 4096] = b"\xff" * 4096
        image[other * 4096 : other * 4096 + 32] = data[used * 4096 : used * 4096 + 32]
        assert host_reads(Image(bytes(image))) == board_reads(bytes(image))


def test_an_image_without_a_header_is_looked_at_if_asked():
    image = Image(b"\xff" * (3 * 4096), strict=False)
    assert image.blank and image.records == []


def test_a_record_that_is_kept_is_not_void():
    """All its marks, 0, would say that; the board writes them only to what it gave up."""
    head = bytearray(20)
    layout.pack_record(head, 1, 0, 1, 0, 0, 0, 5, marks=0)
    assert fields.part_head(fields.Part(0, bytes(head), b""), 5, 0)[layout.MARKS] == 0x80


def stored(count=12, sectors=4):
    """(image of a ring, {seq: payload})."""
    dev = RamNor(sectors)
    ring = Ring(dev)
    ring.mount()
    payloads = {}
    for n in range(count):
        body = json.dumps({"number": n, "pad": "x" * 200 * (n % 4)}).encode()
        handle = ring.append(1, b"key-%04d" % n, [head_of(b"office", b"log"), body], n % 3)
        payloads[handle[0]] = head_of(b"office", b"log") + body
    return bytes(dev.image), payloads


def head_of(upstream, tool):
    """As the outbox writes a request, dated."""
    head = bytes([1, 1, len(upstream), len(tool)])
    return (
        head + (1_800_000_000).to_bytes(4, "little") + (60).to_bytes(4, "little") + upstream + tool
    )


def run(capsys, *args):
    """(exit code, output, errors) of mcpgw queue."""
    with pytest.raises(SystemExit) as ended:
        main(["queue", *map(str, args)])
    out, err = capsys.readouterr()
    return ended.value.code, out, err


def test_dump(tmp_path, capsys):
    data, payloads = stored()
    path = tmp_path / "queue.img"
    path.write_bytes(data)
    code, out, _ = run(capsys, "dump", path)
    assert code == 0 and "office log" in out and "2027-01-15T08:00:00Z" in out
    assert out.splitlines()[-1] == "12 records in 4 sectors"
    code, out, _ = run(capsys, "dump", path, "--json")
    rows = json.loads(out)
    assert [row["seq"] for row in rows] == list(payloads)
    assert rows[5]["params"] == {"number": 5, "pad": "x" * 200}
    assert (rows[5]["key"], rows[5]["priority"], rows[5]["expires_s"]) == ("key-0005", 2, 60)
    # The same within a larger file.
    path.write_bytes(b"firmware" * 1000 + data + b"more")
    code, out, _ = run(capsys, "dump", path, "--offset", 8000, "--length", len(data))
    assert code == 0 and "12 records" in out


def test_what_the_outbox_wrote(tmp_path, capsys):
    """What is told of the records of a life: every kind and state."""
    now = [1_800_000_000]
    dev = RamNor(8)

    def start():
        ring = Ring(dev)
        ring.mount()
        return Outbox(ring, lambda: now[0], lambda: 0, overflow="drop")

    box = start()
    for n, zone in enumerate(("north", "south", "north")):
        updates.put(
            box,
            b"key-%04d" % n,
            "office",
            "set",
            b'{"n":%d}' % n,
            expiry_s=60,
            priority=n,
            owner=7,
            sent=n == 1,
            thing=updates.thing_of("office", "set", zone),
            policy="latest",
            merged=None,
        )
    item = box.next(0)
    box.done(item, b'{"content":[]}', 90, failed=True)
    now[0] = None
    box = start()
    box.put(b"key-0009", "office", "log", [b"{}"], 30)
    path = tmp_path / "queue.img"
    path.write_bytes(dev.image)
    code, out, _ = run(capsys, "dump", path, "--json")
    assert code == 0 and not [row for row in json.loads(out) if "problem" in row], out
    rows = {(row["kind"], row["key"]): row for row in json.loads(out)}
    old = rows["outcome", "key-0000"]
    assert (old["state"], old["owner"], old["attempts"]) == ("superseded", "00000007", 0)
    assert "queue://key-0002" in old["result"]["content"][0]["text"]
    done = rows["outcome", "key-0002"]
    assert (done["state"], done["kept_s"], done["attempts"]) == ("failed", 90, 1)
    assert done["requested"] == "2027-01-15T08:00:00Z"
    waits = rows["request", "key-0001"]
    assert waits["flags"] == ["sent", "update"] and waits["replaces"] is None
    assert (waits["params"], waits["priority"], waits["marks"]) == ({"n": 1}, 1, 0)
    began = rows["start", ""]
    assert began["not_before"] == "2027-01-15T08:00:00Z" and "began" not in began
    plain = rows["request", "key-0009"]
    assert plain["start"] == began["start"] and plain["stored"] == "start+0s"
    code, out, _ = run(capsys, "dump", path)
    assert code == 0 and "began at an unknown time" in out and "superseded after 0 att" in out
    assert "failed after 1 attempt, kept 90 s" in out


def test_one_is_no_plural(tmp_path, capsys):
    dev = RamNor(4)
    ring = Ring(dev)
    ring.mount()
    ring.append(1, b"key", [b"{}"])
    path, new = tmp_path / "queue.img", tmp_path / "new.img"
    path.write_bytes(dev.image)
    assert run(capsys, "dump", path)[1].splitlines()[-1] == "1 record in 4 sectors"
    assert run(capsys, "verify", path)[1].startswith("1 record; 0 losses, 0 places that")
    ring.append(1, b"other", [b"{}"])
    wrong = bytearray(dev.image)
    wrong[Image(wrong).records[0].at + 5] ^= 0x11
    path.write_bytes(wrong)
    code, out, _ = run(capsys, "verify", path)
    assert code == 4 and "1 record; 1 loss, " in out
    assert "; 1 place is damaged: " in run(capsys, "dump", path)[1]
    assert "1 record, 0 lost" in run(capsys, "repair", path, "-o", new)[1]


def test_verify_tells_cuts_from_losses(tmp_path, capsys):
    data, _ = stored()
    path = tmp_path / "queue.img"
    path.write_bytes(data)
    code, out, _ = run(capsys, "verify", path)
    assert code == 0 and "12 records; 0 losses" in out
    # A flipped bit of a header is put right, and named.
    wrong = bytearray(data)
    wrong[4096 + 14] ^= 4
    path.write_bytes(wrong)
    code, out, _ = run(capsys, "verify", path)
    assert code == 3 and "0x00100e mended: one bit of the sector's header flipped" in out
    # One of a body costs the record.
    third = Image(data).records[2]
    wrong = bytearray(data)
    wrong[third.at + 60] ^= 0x10
    path.write_bytes(wrong)
    code, out, _ = run(capsys, "verify", path, "--json")
    (finding,) = json.loads(out)["findings"]
    assert code == 4 and finding["level"] == "lost" and finding["at"] == third.at + 20
    # Two of a record's header cost that one; the ones behind it are found.
    wrong = bytearray(data)
    wrong[third.at + 5] ^= 0x11
    path.write_bytes(wrong)
    code, out, _ = run(capsys, "verify", path)
    assert code == 4 and f"{third.at:#08x} lost" in out and "11 records" in out


def test_repair_writes_a_new_image(tmp_path, capsys):
    data, payloads = stored()
    path, new = tmp_path / "queue.img", tmp_path / "new.img"
    lost = Image(data).records[3]
    wrong = bytearray(data)
    wrong[lost.at + 100] ^= 1
    path.write_bytes(wrong)
    assert run(capsys, "repair", path)[0] == 2
    code, _, err = run(capsys, "repair", path, "-o", path)
    assert code == 1 and "cannot be written over" in err
    code, out, _ = run(capsys, "repair", path, "-o", new)
    assert code == 0 and f"lost: record {lost.seq}" in out and "11 records, 1 lost" in out
    assert path.read_bytes() == wrong
    # The board's ring takes it, goes on in it, and still knows what it had.
    ring = Ring(RamNor(4, new.read_bytes()))
    ring.mount()
    assert {seq: row[3] for seq, row in rows_of(ring).items()} == {
        seq: payload for seq, payload in payloads.items() if seq != lost.seq
    }
    assert ring.append(1, b"key", [b"more"])[0] > max(payloads)
    assert ring.wear() == [2, 1, 1, 1] or min(ring.wear()) >= 1


def test_a_full_disk_leaves_no_half_image(tmp_path, capsys, monkeypatch):
    path, new = tmp_path / "queue.img", tmp_path / "new.img"
    path.write_bytes(stored()[0])
    new.write_bytes(b"older")
    write = Path.write_bytes

    def full(self, data):
        write(self, data[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    code, _, err = run(capsys, "repair", path, "-o", new)
    assert code == 1 and f"cannot write {new}: No space left" in err
    assert sorted(tmp_path.iterdir()) == [new, path] and new.read_bytes() == b"older"


def test_records_of_a_sector_without_a_header_are_salvaged(tmp_path, capsys):
    data, payloads = stored()
    path, new = tmp_path / "queue.img", tmp_path / "new.img"
    wrong = bytearray(data)
    at = Image(data).records[0].at // 4096 * 4096
    wrong[at : at + 32] = bytes(range(100, 132))
    path.write_bytes(wrong)
    code, out, _ = run(capsys, "verify", path)
    assert code == 3 and "see repair --salvage" in out
    code, out, _ = run(capsys, "repair", path, "-o", new, "--salvage")
    assert code == 0 and "come from sectors with a damaged header" in out
    found = board_reads(new.read_bytes())
    assert {seq: row[3] for seq, row in found.items()} == payloads


def test_what_a_header_crc_was_started_with():
    part = Image(stored()[0]).records[0].parts[0]
    head = Image(stored()[0]).heads[part.at // 4096]
    assert start_of(part.head) == head.seed ^ part.at % 4096
    right, bit = fields.put_right(part.head, 14, head.seed ^ part.at % 4096)
    assert right == part.head and bit is None


def test_other_files_are_refused(tmp_path, capsys):
    path = tmp_path / "x.img"
    for data, why in (
        (b"abc", "3 or more whole sectors of 4096 bytes"),
        (b"\xff" * 4096 * 3 + b"\0", "3 or more whole sectors of 4096 bytes"),
        (b"\x55" * 4096 * 3, "no queue in it"),
    ):
        path.write_bytes(data)
        code, _, err = run(capsys, "dump", path)
        assert code == 1 and why in err, err
    newer = bytearray(stored()[0])
    for at in range(0, len(newer), 4096):
        if newer[at : at + 3] == b"MGQ":
            newer[at + 3] = 9
            newer[at + 24 : at + 28] = fields.crc32(newer[at : at + 24]).to_bytes(4, "little")
    path.write_bytes(newer)
    code, _, err = run(capsys, "verify", path)
    assert code == 1 and "of format 9" in err
    path.write_bytes(b"\xff" * 4096 * 3)
    code, out, _ = run(capsys, "dump", path)
    assert code == 0 and "0 records in 3 sectors (blank)" in out
    assert run(capsys, "dump")[0] == 2
    assert run(capsys, "dump", path, "--port", "x")[0] == 2
