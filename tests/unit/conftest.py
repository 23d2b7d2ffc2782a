"""On CPython every gateway of these tests is listened to: what its ports are given to send is
judged by the schema of its revision (see wire_record.py)."""

import functools

import peer
import pytest
from wire_record import Recorder

from mcp_gw import dispatch
from mcp_gw.protocol import http_exchange, http_sessions
from mcp_gw.transports import serial

# What takes messages that are to be sent; where one hands them to another, the first one counts.
SENDERS = {
    peer.Peer: ("send", "answer"),
    dispatch.Answer: ("send", "answer"),
    serial.Port: ("send",),
    http_exchange.Exchange: ("send", "answer"),
    http_sessions.EventStream: ("put",),
}


# Tests whose upstream is wrong itself, and is passed on as it is.
PASSED_ON = {
    "test_results_of_any_shape_stay_one_valid_message": "results of the wrong shape",
    "test_upstream_tools_are_listed_under_valid_unique_names": "no structuredContent",
}


def session_of(port):
    """The Session of a port, or of a stream of a session over HTTP."""
    session = port.session
    return session.session if isinstance(session, http_sessions.HttpSession) else session


class Listener:
    def __init__(self):
        self._recorders = {}  # id of a Session -> (it, its Recorder)
        self._deep = 0

    def recorder(self, port):
        """The Recorder of a port's session."""
        session = session_of(port)
        if id(session) not in self._recorders:
            # On a serial line there are frames and comments too.
            recorder = Recorder(noise=isinstance(port, serial.Port))
            self._recorders[id(session)] = session, recorder
        return self._recorders[id(session)][1]

    def sender(self, function):
        @functools.wraps(function)
        def send(port, parts, *more):
            if isinstance(port, dispatch.Answer) and port.port:
                return function(port, parts, *more)  # a sketch sends it on that port
            if not self._deep and id(session_of(port)) in self._recorders:
                text = b"".join(bytes(part) for part in parts)
                self.recorder(port).received_message(text.rstrip(b"\n"))
            self._deep += 1
            try:
                return function(port, parts, *more)
            finally:
                self._deep -= 1

        return send

    def taker(self, function):
        @functools.wraps(function)
        def take(dispatch, port, buf, lo, hi):
            if type(port) in SENDERS:  # else a batch is taken apart
                self.recorder(port).sent_message(bytes(memoryview(buf)[lo:hi]))
            return function(dispatch, port, buf, lo, hi)

        return take


@pytest.fixture(autouse=True)
def listener(monkeypatch, request):
    if request.node.name in PASSED_ON:
        return
    listener = Listener()
    for kind, names in SENDERS.items():
        for name in names:
            monkeypatch.setattr(kind, name, listener.sender(getattr(kind, name)))
    take = listener.taker(dispatch.Dispatch.take)
    monkeypatch.setattr(dispatch.Dispatch, "take", take)
