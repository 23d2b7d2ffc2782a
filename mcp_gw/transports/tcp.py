"""Streamable HTTP over TCP, with or without TLS: listening, connections, time-outs.

Two hooks let other parts of a gateway take part without this file knowing them.

guard: an object with check(method, path, headers, peer), asked once the head of a request is
complete and before its body is read, for every path and method except a CORS preflight.
    method: str such as "POST"; path: str, the request target without its query, as it was sent;
    headers: dict of lower-case name -> value, both bytes, repeated fields joined with ", ";
    peer: str, the address at the other end without its port, "" where the port cannot tell.
    Returns the principal (str, or None for anybody) to let the request pass; the principal goes
    to session.principal, and a session belongs to the principal that began it. Or returns a tuple
    (status, fields, body), which is the answer, whatever its status: fields is an iterable of
    (name, value) str pairs, Content-Type among them where body (bytes) is not empty;
    Content-Length is added. It must not wait. A head that repeats on a connection is asked about
    once a second, not once a request.

endpoints: an object with handle(method, path, query, headers, body, respond), asked for every
path other than that of MCP, after guard, when the body is complete.
    method: "GET" (for HEAD too, whose body is then left out), "POST", ...; path, headers: as
    above; query: str, what follows "?", "" without one; body: bytes;
    respond(status, fields, parts): sends the answer, now or later, once; fields as above, parts: a
    list of bytes-like. Returns whether there is such a path; False gets a 404.
"""
