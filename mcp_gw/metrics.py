"""What a gateway measures of itself, in the text format of Prometheus (version 0.0.4)."""

import gc

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def rows(gateway):
    """List of (name, kind, help, value); value: a number, or list of (label text, number)."""
    counters = gateway.server.counters
    info = 'name="%s",version="%s",boot="%s"'
    info = info % (_escaped(gateway.name), _escaped(gateway.version), gateway.boot)
    under_way = sum(len(session.under_way) for session in gateway.sessions)
    requests = [
        ('method="%s"' % method.decode().strip('"'), count)
        for method, count in counters.requests.items()
    ]
    errors = [('code="%d"' % code, count) for code, count in counters.errors.items()]
    out = [
        ("info", "gauge", "Who this is", [(info, 1)]),
        ("uptime_seconds", "counter", "Time since the start", gateway.clock.uptime_s),
        ("requests_total", "counter", "MCP requests by method", requests),
        ("errors_total", "counter", "Errors answered by JSON-RPC code", errors),
        ("tool_errors_total", "counter", "Tool results with isError", counters.tool_errors),
        ("sessions", "gauge", "Clients that hear of changes", len(gateway.sessions)),
        ("requests_under_way", "gauge", "Requests of theirs that take time", under_way),
    ]
    if hasattr(gc, "mem_free"):
        out.append(("heap_free_bytes", "gauge", "Heap that is free", gc.mem_free()))
        out.append(("heap_used_bytes", "gauge", "Heap in use, garbage included", gc.mem_alloc()))
    hub = gateway.upstreams
    if hub:
        up = [('name="%s"' % u.name, int(u.up)) for u in hub.router.upstreams.values()]
        out.append(("upstream_up", "gauge", "Whether an upstream can be reached", up))
        outbox = hub.forwarder.outbox
        if outbox is not None:
            out.append(("queue_pending", "gauge", "Calls that wait", outbox.pending))
            why = "Outcomes dropped before their time"
            out.append(("queue_dropped_total", "counter", why, outbox.dropped))
            why = "Calls dropped for others of a higher priority"
            out.append(("queue_calls_dropped_total", "counter", why, outbox.dropped_calls))
            out.append(("queue_free_bytes", "gauge", "Room in the queue", outbox.ring.free))
        if hub.routing:
            from .route.routes_rows import rows as routes

            out.extend(routes(hub.routing))
    return out


def text(rows):
    """The rows as Prometheus reads them, bytes."""
    out = []
    for name, kind, why, value in rows:
        out.append("# HELP mcpgw_%s %s\n# TYPE mcpgw_%s %s\n" % (name, why, name, kind))
        if isinstance(value, list):
            for labels, number in value:
                out.append("mcpgw_%s{%s} %d\n" % (name, labels, number))
        else:
            out.append("mcpgw_%s %d\n" % (name, value))
    return "".join(out).encode()


def _escaped(text):
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
