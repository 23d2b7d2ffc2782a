"""Queued calls delivered together: one request mcp-gw/deliver for several of them, compressed
where the upstream can take that (docs/upstreams.md). Loaded when an upstream says that it can.
"""

from binascii import b2a_base64

from ..compat import const, ticks_ms
from ..errors import METHOD_NOT_FOUND, UPSTREAM_TIMEOUT, UPSTREAM_UNAVAILABLE, Unavailable
from ..protocol.jsontext import items, joined, member
from .upstream import asks, error_of

# Calls in one request, and how many bytes they have together, are bounded whatever the upstream
# takes: on a board all of it is in RAM at once.
MOST_CALLS = const(32)
MOST_BYTES = const(6144)
# Room for what is around calls and outcomes.
_AROUND = const(1024)
# Below this there is nothing to compress.
_LEAST = const(256)
# log2 of the window; what it takes of RAM while compressing.
_WINDOW_BITS = const(10)


def deliver(forwarder, upstream, found, now):
    """Send the first item in the list `found` with others of the same upstream, which are added.
    False: alone is better."""
    first = found[0]
    can = upstream.deliver
    calls = can.get("calls") if isinstance(can, dict) else None
    outbox = forwarder.outbox
    if type(calls) is not int or calls < 2 or can == upstream.refused_batches:
        return False
    seq = first.handle[0]
    if seq in outbox.alone:
        outbox.alone = tuple(other for other in outbox.alone if other != seq)
        return False
    rest = min(MOST_BYTES, forwarder.rx - _AROUND, upstream.longest - _AROUND)
    rest -= _size(first)
    while len(found) < min(calls, MOST_CALLS) and rest > 0:
        item = outbox.next(now, None, upstream.name, rest)
        if item is None:
            break
        if item.handle[0] in outbox.alone:
            outbox.retry(item, now, 0)
            break
        found.append(item)
        rest -= _size(item)
    outbox.tries.changed()
    if len(found) == 1:
        return False
    head = b'{"_meta":%s,"max_bytes":%d,' % (upstream.meta(), forwarder.rx - _AROUND)
    parts = []
    for item in found:
        parts += [b",{" if parts else b"[{", b'"key":"', item.key, b'","params":', item.message]
        parts.append(b"}")
        item.message = None
    parts.append(b"]")
    packed = None
    if can.get("deflate") is True and sum(len(part) for part in parts) > _LEAST:
        packed = _deflated(parts)
    if packed is None:
        parts = [head, b'"calls":'] + parts + [b"}"]
    else:
        parts = [head, b'"deflate":"', packed, b'"}']

    def done(item, ok, raw, err):
        _delivered(forwarder, upstream, found, ok, raw, err)

    forwarder.send(upstream, "mcp-gw/deliver", parts, found, done)
    return True


def _size(item):
    return len(item.message) + len(item.key) + 24


def _deflated(parts):
    """The parts compressed (raw deflate), in base64, bytes; None where the firmware cannot."""
    try:
        from io import BytesIO

        import deflate

        out = BytesIO()
        with deflate.DeflateIO(out, deflate.RAW, _WINDOW_BITS) as stream:
            for part in parts:
                stream.write(part)
        data = out.getvalue()
    except ImportError:
        import zlib

        data = zlib.compress(joined(parts), 9, -_WINDOW_BITS)
    except (AttributeError, OSError):
        return None
    return b2a_base64(data)[:-1]


def _delivered(forwarder, upstream, found, ok, raw, err):
    outbox = forwarder.outbox
    forwarder.delivered()
    now = ticks_ms()
    wait_ms = None
    forwarder.rest(upstream.name, not isinstance(err, Unavailable))
    if err is None and not ok:
        code, message = error_of(bytes(raw))
        if code in (UPSTREAM_UNAVAILABLE, UPSTREAM_TIMEOUT):
            err = message
        else:
            # It does not take batches, or not this one: one by one then.
            err = "a batch was refused: " + message
            wait_ms = 0
            if code == METHOD_NOT_FOUND:
                upstream.refused_batches = upstream.deliver
            else:
                _send_alone(outbox, found)
    if err is not None:
        forwarder.log("queue: %d calls for %s: %s\n" % (len(found), upstream.name, err))
        for item in found:
            outbox.retry(item, now, wait_ms)
        return
    rows = _rows(bytes(raw))
    told = 0
    left = list(found)
    try:
        while left:
            told += _take(forwarder, left[0], rows.get(left[0].key), now)
            left.pop(0)
    finally:
        for item in left:
            outbox.retry(item, now)
    if not told:
        _send_alone(outbox, found[:1])


def _take(forwarder, item, row, now):
    """What came of one call (JSON text); whether there was anything."""
    for name in (b"result", b"error", b"retry_ms") if row else ():
        value = member(row, name)
        if value is None:
            continue
        if name == b"retry_ms":
            forwarder.outbox.retry(item, now, int(value) if value.isdigit() else None)
            return True
        ok = name == b"result" and value[:1] == b"{"
        if ok and asks(value):
            value = b'{"resultType":"input_required"}'  # where a link has the type
        elif not ok and value[:1] != b"{":
            value = b'{"code":-32603,"message":"an outcome that is no JSON object"}'
        forwarder.conclude(item, ok, value, None)
        return True
    # There was no room for its outcome beside the others'.
    forwarder.outbox.retry(item, now, 0)
    return False


def _send_alone(outbox, found):
    seqs = tuple(item.handle[0] for item in found)
    outbox.alone = (outbox.alone + seqs)[-2 * MOST_CALLS :]


def _rows(raw):
    """The outcomes in a result (bytes): key -> JSON text."""
    found = {}
    rows = member(raw, b"outcomes") if raw[:1] == b"{" else None
    if rows is not None and rows[:1] == b"[":
        for lo, hi in items(rows, 0):
            key = member(rows[lo:hi], b"key") if rows[lo : lo + 1] == b"{" else None
            if key is not None:
                found[key[1:-1]] = rows[lo:hi]
    return found
