"""How tests wait: for an event, with a limit that only a hang reaches.

A test must not depend on how fast this machine is or what else it does: nothing asserts that
something took less than a few times what it usually takes, and nothing sleeps where it could wait
for what it sleeps for.
"""

import socket
import time

# Far more than anything here takes, on a machine with many times its load.
PATIENCE_S = 120


def until(condition, what="", timeout=PATIENCE_S):
    """Wait until condition() is true; returns its value. what: text, or a function that gives it,
    for the AssertionError when the time is over."""
    end = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < end, what() if callable(what) else what or "it never came"
        time.sleep(0.02)
    return value


class ReservedPort:
    """A TCP port of 127.0.0.1 for one server that comes and goes: `number`.

    The socket held here keeps everybody else from being given the port meanwhile, clients that
    look for any free one included, and refuses connections while the server is away, since it is
    bound and does not listen. The server itself may bind it, as long as it sets SO_REUSEADDR.
    """

    def __init__(self):
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", 0))
        self.number = self._socket.getsockname()[1]

    def close(self):
        self._socket.close()
