"""Server-sent events (WHATWG HTML, section 9.2), without I/O: what an event looks like, and the
decoder of a text/event-stream body.
"""

from ..compat import const
from .framing import find
from .http import TooLarge

# What the rest of the current line is.
_NAME = const(0)
_SKIP = const(1)  # a comment, an unknown field, or a name longer than any known
_DATA = const(2)
_EVENT = const(3)
_ID = const(4)
_RETRY = const(5)

_FIELDS = {b"data": _DATA, b"event": _EVENT, b"id": _ID, b"retry": _RETRY}
_LONGEST_NAME = const(16)  # a BOM and the longest known name fit
_BOM = b"\xef\xbb\xbf"

COMMENT = (b":\n\n",)  # says nothing, but keeps a connection alive


def event(parts, id=None):
    """An event as list of bytes-like. parts: its data, one line, list of bytes-like; id: bytes."""
    out = [b"data: " if id is None else b"id: " + id + b"\ndata: "]
    out.extend(parts)
    out.append(b"\n\n")
    return out


class SSEDecoder:
    """Splits a stream into events. Data goes straight into one buffer, so an event is held in
    memory once.

    cap: longest data of one event in bytes. Other fields are capped by MAX_FIELD; comments may
    have any length. After next() returned True: data (bytearray, valid until the next call), event
    (bytes, b"message" unless named). Beside that, at any time: last_id (bytes; what Last-Event-ID
    would carry), retry (ms the server asked for, or None).
    """

    MAX_FIELD = 1024  # bytes of an event name, id or retry

    def __init__(self, cap):
        self.cap = cap
        self.data = bytearray()
        self.event = b"message"
        self.last_id = b""
        self.retry = None
        self.pos = 0
        self._id = b""  # last_id, once the event being received is complete
        self._mode = _NAME
        self._text = b""  # the name, or the value of a field other than data, so far
        self._name = b""  # of the event being received
        self._lines = 0  # of data
        self._begun = False  # the current line's value has begun: a space is no longer dropped
        self._start = True  # nothing but a BOM was seen yet
        self._after_cr = False
        self._fresh = True  # self.data belongs to the event being received

    def next(self, buf, pos, end):
        """Decode buf[pos:end] up to the next event; go on from self.pos. True: an event; False:
        all consumed.

        Raises TooLarge when the event's data or a field is longer than its cap; the stream is of
        no use after that.
        """
        if not self._fresh:
            self.data = bytearray()
            self._fresh = True
        view = memoryview(buf)
        while pos < end:
            if self._after_cr:
                self._after_cr = False
                if buf[pos] == 10:
                    pos += 1
                    continue
            stop = find(buf, 10, pos, end)
            cr = find(buf, 13, pos, end if stop < 0 else stop)
            if cr >= 0:
                stop = cr
            last = end if stop < 0 else stop
            if self._mode == _NAME:
                colon = find(buf, 58, pos, last)
                self._grow_name(bytes(view[pos : last if colon < 0 else colon]))
                pos = last
                if colon >= 0:
                    self._begin_value()
                    pos = colon + 1
            if self._mode != _NAME and pos < last:
                if not self._begun:
                    self._begun = True
                    if buf[pos] == 32:
                        pos += 1
                self._grow_value(view[pos:last])
                pos = last
            if stop < 0:
                break
            pos = stop + 1
            self._after_cr = cr >= 0
            if self._end_line():
                self.pos = pos
                return True
        self.pos = pos
        return False

    def _grow_name(self, part):
        if len(self._text) + len(part) > _LONGEST_NAME:
            self._mode = _SKIP
            self._start = False
        else:
            self._text += part

    def _begin_value(self):
        if self._mode == _NAME:
            self._set_mode(self._line_text())
        self._text = b""
        self._begun = False

    def _set_mode(self, name):
        mode = self._mode = _FIELDS.get(name, _SKIP)
        if mode == _DATA:
            if self._lines:
                self._grow_value(b"\n")
            self._lines += 1

    def _line_text(self):
        text = self._text
        if self._start:
            self._start = False
            if text[:3] == _BOM:
                return text[3:]
        return text

    def _grow_value(self, part):
        mode = self._mode
        if mode == _DATA:
            if len(self.data) + len(part) > self.cap:
                raise TooLarge("event longer than %d bytes" % self.cap)
            self.data.extend(part)
        elif mode != _SKIP:
            if len(self._text) + len(part) > self.MAX_FIELD:
                raise TooLarge("event field longer than %d bytes" % self.MAX_FIELD)
            self._text += bytes(part)

    def _end_line(self):
        """A line is complete; True when it is the empty one that completes an event."""
        if self._mode == _NAME:  # no colon: an empty line, or a name without a value
            name = self._line_text()
            self._text = b""
            if not name:
                return self._dispatch()
            self._set_mode(name)
        mode, value = self._mode, self._text
        self._mode = _NAME
        self._text = b""
        self._begun = False
        if mode == _EVENT:
            self._name = value
        elif mode == _ID:
            if b"\0" not in value:
                self._id = value
        elif mode == _RETRY and value.isdigit() and len(value) <= 9:
            self.retry = int(value)
        return False

    def _dispatch(self):
        name = self._name
        self._name = b""
        self.last_id = self._id
        if not self._lines:
            return False
        self._lines = 0
        self.event = name or b"message"
        self._fresh = False
        return True
