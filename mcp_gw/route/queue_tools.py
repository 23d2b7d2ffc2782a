"""The queue's own tools: queue_status, queue_sync, queue_cancel. Loaded with the first call."""

from ..compat import const, ticks_ms
from ..errors import ToolError
from ..protocol import results
from ..protocol.jsontext import loads
from ..queue.owners import number, owner, owner_at

# Ids listed by a status; more can be asked for one by one.
_MOST_IDS = const(100)


def figures(outbox, visible=None):
    """What can be said of the queue as a whole (dict). visible: function(owner) -> whether a call
    is listed."""
    ids = []
    for handle, _, key, _ in outbox.ring.records(0, b"\x01\x02"):
        if len(ids) == _MOST_IDS:
            break
        if visible is None or visible(owner_at(outbox, handle)):
            ids.append(key.decode())
    return {
        "pending": outbox.pending,
        "dropped": outbox.dropped,
        "dropped_calls": outbox.dropped_calls,
        "overflow": outbox.overflow,
        "free": outbox.ring.free,
        "capacity": outbox.ring.capacity,
        "ids": ids,
    }


def cancel(outbox, id):
    """Cancel a call (str) that waits. Raises ToolError saying why it cannot be."""
    if outbox.cancel(id.encode()):
        return
    known = outbox.status(id.encode())
    if known is None:
        raise ToolError("nothing is known of this id")
    row = loads(known, b"\\" in known)
    if row["state"] == "sending":
        raise ToolError("it is on its way, and cannot be cancelled any more")
    raise ToolError("it is %s already" % row["state"])


def call(forwarder, request, port, buf):
    """Carry out the CALL of one of these tools."""
    server = forwarder.server
    value = None
    try:
        value = _value(forwarder, request, server.arguments(buf))
        rows = results.tool_members(request.revision, value, False, False)
    except ToolError as e:
        server.counters.tool_errors += 1
        rows = results.tool_members(request.revision, str(e), True)
    port.answer(server.result(request, rows))


def _value(forwarder, request, given):
    outbox = forwarder.outbox
    own = None
    if request.session.principal is not None:
        own = number(request.session.principal)

    def visible(whose):
        return own is None or whose in (own, 0)

    id = given.get("id")
    for key in given:
        if key != "id" or request.name == "queue_sync":
            raise ToolError("argument %s is not known to this tool" % key)
    if request.name == "queue_sync":
        forwarder.hurry(ticks_ms())
        return {"pending": outbox.pending}
    if id is None and request.name == "queue_status":
        return figures(outbox, visible)
    if not isinstance(id, str):
        raise ToolError("argument id %s" % ("is missing" if id is None else "must be a string"))
    whose = owner(outbox, id.encode())
    if whose is None or not visible(whose):
        raise ToolError("nothing is known of this id")
    if request.name == "queue_cancel":
        cancel(outbox, id)
    known = outbox.status(id.encode())
    if known is None:
        raise ToolError("its outcome was dropped: the queue is full")
    return loads(known, b"\\" in known)
