"""What becomes of a stream's scores: thresholds with hysteresis, and whom an alert is told."""

from ..compat import const
from ..errors import ConfigError
from ..protocol.jsontext import joined, member
from ..protocol.jsonvalue import checked, dumps
from ..protocol.revisions import BY_NAME, LATEST_LEGACY
from ..protocol.session import Session
from ..registry import check_name

_MAX_CALLS = const(4)  # calls of one stream that have no answer yet


class Alerts:
    """Thresholds of one stream and what happens at them.

    An alert begins when the mean of the last `smooth` scores has been `high` or more at `hold`
    looks in a row, and ends when it falls below `low` (default: high). Both are told: to clients
    by a log message and by an update of the resource stream://NAME, and to on_alert, a
    function(dict). With call=("office_report", function(dict) -> arguments) the beginning of an
    alert also calls the tool of that name, of ours or of an upstream: one that is queueable waits
    in the queue while its upstream cannot be reached. The dict is what the resource shows:
    stream, look, uptime_s, score, label (where the model has some), alert (bool).
    """

    def __init__(
        self,
        gw,
        stream,
        description="",
        high=None,
        low=None,
        hold=1,
        smooth=1,
        on_alert=None,
        call=None,
    ):
        if low is not None and (high is None or low > high):
            raise ConfigError("stream %s: low must not be above high" % stream.name)
        if hold < 1 or smooth < 1:
            raise ConfigError("stream %s: hold and smooth are at least 1" % stream.name)
        self.on = False
        self.count = 0
        check_name(stream.name)
        self.uri = "stream://" + stream.name
        self._gw = gw
        self._name = stream.name
        self._high = high
        self._low = high if low is None else low
        self._hold = hold
        self._above = 0
        self._smooth = smooth
        self._scores = []
        self._on_alert = on_alert
        self._call = call
        self._calls = []
        if gw is not None:
            if gw.streams is None:
                gw.streams = {}
            if stream.name in gw.streams:
                raise ConfigError("stream %s is declared twice" % stream.name)
            gw.streams[stream.name] = stream
            gw.resource(
                self.uri,
                description or "What the last look at this sensor found",
                name=stream.name,
                mime_type="application/json",
            )(lambda: stream.latest or {"stream": stream.name, "look": 0})
            from .tools import renew

            renew(gw)

    def take(self, found):
        """A look has found something (dict with score): begin or end an alert. Sets its alert."""
        if self._high is None:
            return
        scores = self._scores
        scores.append(found["score"])
        if len(scores) > self._smooth:
            scores.pop(0)
        score = sum(scores) / len(scores)
        if self._smooth > 1:
            found["smooth"] = score
        was = self.on
        if was:
            if not score >= self._low:  # so that nan ends it too
                self.on = False
                self._above = 0
        elif score >= self._high:
            self._above += 1
            self.on = self._above >= self._hold and len(scores) == self._smooth
        else:
            self._above = 0
        found["alert"] = self.on
        if self.on != was:
            self._tell(found)

    def _tell(self, found):
        gw = self._gw
        if self.on:
            self.count += 1
        if gw is not None:
            gw.resource_updated(self.uri)
            if gw.sessions:
                from ..listening import tell_message

                tell_message(gw.sessions, "warning" if self.on else "notice", found, self.uri)
            if self.on and self._call:
                self._report(found)
        if self._on_alert:
            self._on_alert(found)

    def _report(self, found):
        """Call the tool that is to be called."""
        tool, arguments = self._call
        data = checked(arguments(found))
        if data is None:
            raise ValueError("stream %s: arguments of %s without a JSON form" % (self._name, tool))
        self._calls = [call for call in self._calls if not call.answered]
        if len(self._calls) >= _MAX_CALLS:
            self._gw.log("%s: %s was not called: too many calls wait\n" % (self.uri, tool))
            return
        call = _Call(self._gw, self.uri, tool)
        self._calls.append(call)
        head = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":'
        message = b"".join((head, dumps(tool), b',"arguments":', data, b"}}"))
        self._gw.dispatch.take(call, message, 0, len(message))


class _Call:
    """A port for one call that nobody waits for: what goes wrong is logged."""

    settling = False

    def __init__(self, gw, uri, tool):
        self.session = Session(BY_NAME[LATEST_LEGACY])
        self.link = self
        self.answered = False
        self._gw = gw
        self._what = uri, tool

    def answer(self, parts, status=200):
        self.answered = True
        data = bytes(joined(parts))
        told = member(data, b"error")
        if told is None:
            told = member(data, b"result")
            if member(told, b"isError") != b"true":
                return
        self._gw.log("%s: %s: %s\n" % (self._what + (told.decode(),)))

    def send(self, parts):
        """Nobody follows its progress."""

    def close_stream(self):
        """There is none."""
