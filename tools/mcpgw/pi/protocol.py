"""uvicorn's HTTP/1.1 protocol with the limits that a gateway has: on heads, on time, on how many
connections there are."""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from mcp_gw.protocol.http_server import status_line


def protocol(settings):
    """A protocol class for uvicorn.Config(http=...). settings: those of a Gateway (dict)."""
    return type("Protocol", (Limited,), {"settings": settings})


class Limited(HttpToolsProtocol):
    """settings: http_connections, http_head, http_idle_s, http_request_s of mcp_gw/config.py."""

    settings = None

    def connection_made(self, transport):
        super().connection_made(transport)
        self._in_head = True
        self._size = 0  # of the head, as far as it has come
        self._refused = False
        self._moved = False  # a head or a body has ended in the bytes that came last
        self._timer = None
        if len(self.connections) > self.settings["http_connections"]:
            self._refuse(503, "too many connections", b"Retry-After: 2\r\n")
        else:
            self._within(self.settings["http_idle_s"])

    def connection_lost(self, exc):
        self._within(None)
        super().connection_lost(exc)

    def data_received(self, data):
        if self._refused:
            return
        self._moved = False
        super().data_received(data)
        if self._in_head and not self._moved:
            self._size += len(data)
            if self._size > self.settings["http_head"]:
                self._refuse(431, "the head of the request is too long")

    def on_message_begin(self):
        super().on_message_begin()
        self._in_head = True
        self._size = 0
        self._within(self.settings["http_request_s"])

    def on_headers_complete(self):
        self._in_head = False
        self._moved = True
        size = len(self.url) + sum([len(name) + len(value) + 4 for name, value in self.headers])
        if size > self.settings["http_head"]:
            self._refuse(431, "the head of the request is too long")
        else:
            super().on_headers_complete()

    def on_body(self, body):
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self):
        self._within(None)
        self._in_head = self._moved = True
        self._size = 0
        if not self._refused:
            super().on_message_complete()

    def pause_writing(self):
        super().pause_writing()
        self._within(self.settings["http_request_s"])  # it does not read

    def resume_writing(self):
        super().resume_writing()
        self._within(None)

    def _within(self, seconds):
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if seconds is not None:
            self._timer = self.loop.call_later(seconds, self._late)

    def _late(self):
        self._timer = None
        self.transport.abort()

    def _refuse(self, status, text, fields=b""):
        """Last words on this connection."""
        self._refused = True
        head = status_line(status) + fields + b"Content-Type: text/plain\r\nConnection: close\r\n"
        body = text.encode() + b"\n"
        self.transport.write(head + b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self.transport.close()
        self._within(1)
