"""The client's side: which requests are under way, and what the client is told when the board
is not there.

No I/O; the time is passed in, messages go out through two functions.
"""

import re
from collections import deque

from mcp_gw.errors import BOARD_RESET, INTERNAL_ERROR, INVALID_REQUEST, PARSE_ERROR
from mcp_gw.protocol.framing import (
    ERROR_RESPONSE,
    ID,
    METHOD,
    NOTIFICATION,
    PARAMS,
    REQUEST,
    RESPONSE,
    new_spans,
    scan,
    text,
)

from . import batches
from .calls import error_object, parse

# The scanner's limit, and the most that a board may be set to: the board is the one to refuse.
MAX_DEPTH = 128
# The bridge's own id when it repeats a client's initialize; no client would choose it.
REPLAY_ID = b'"mcpgw-replay-6d1c"'
REPLAY_S = 5.0
# Requests that may be sent again, since they change nothing.
_HANDSHAKE = ("initialize", "server/discover")
# In an error a server says which revisions it supports to a peer that has not agreed on one.
_NO_HANDSHAKE = b'"supported"'
# Requests that are answered for as long as the client listens.
_ENDLESS = ("subscriptions/listen",)
# Bytes that are nowhere valid in a line of JSON; on a board's console some of them are commands.
_CONTROLS = re.compile(rb"[\x00-\x08\x0b-\x0c\x0e-\x1f]")


class _Message:
    """One message of the client: its bytes, and id (raw JSON) and method where it has them.

    batch: the batches.Answers that it is answered with, or None.
    """

    batch = None

    def __init__(self, line, kind, id, method, deadline):
        self.line = line
        self.kind = kind
        self.id = id
        self.method = method
        self.deadline = deadline


class Session:
    """One client's conversation with one board.

    to_board, to_client: function(line bytes without LF); wait_s: how long a request waits for a
    board that is not there; log: Log; doubt: function(), called when an answer looks as if the
    board had restarted unnoticed: it should say hello, and board_same() or board_down() follows.
    """

    def __init__(self, to_board, to_client, log, wait_s=10.0, doubt=lambda: None):
        self._to_board = to_board
        self._to_client = to_client
        self._log = log
        self._wait_s = wait_s
        self._doubt = doubt
        self._doubted = []  # (message, answer) pairs that are held back meanwhile
        self._spans = new_spans()
        self._waiting = deque()
        self._flight = {}  # raw id -> list of _Message, more than one when an id is used twice
        self._unnamed = 0  # lines sent whose answer can only carry the id null
        self._initialize = None  # the client's initialize, once it was answered
        self._initialized = None  # its notifications/initialized
        self._batches = False  # the agreed revision has them
        self._serving = False
        self._replay_until = None
        self._rx = 0
        self._why = "no board is connected"

    @property
    def idle(self):
        """Nothing that the client has asked for is still due."""
        return not (self._waiting or self._doubted) and all(
            message.method in _ENDLESS
            for messages in self._flight.values()
            for message in messages
        )

    @property
    def waiting(self):
        """Bytes of messages that wait for the board."""
        return sum(len(message.line) for message in self._waiting)

    # -- from the client

    def client_line(self, line, now):
        """One line of the client, without its LF."""
        line = line.strip(b" \t\r\n")
        if not line:
            return
        if line[:1] == b"[":
            return self._batch(line, now)
        return self._message(line, now)

    def _message(self, line, now, batch=None):
        if line[:1] != b"{" or _CONTROLS.search(line):
            return self._refuse(b"null", PARSE_ERROR, "not valid JSON")
        spans = self._spans
        kind = scan(line, 0, len(line), spans, MAX_DEPTH)
        if b"\r" in line:
            if kind < 0:
                return self._refuse(self._span(line, ID) or b"null", PARSE_ERROR, "not valid JSON")
            # Between tokens any white space will do, and in a string a CR would not be valid.
            line = line.replace(b"\r", b" ")
        method = text(line, spans, METHOD) if kind in (REQUEST, NOTIFICATION) else None
        message = _Message(line, kind, self._span(line, ID), method, now + self._wait_s)
        if batch and kind == REQUEST:
            message.batch = batch
            batch.expect()
        if method == "notifications/cancelled" and self._cancelled(line):
            return
        if self._ready:
            self._send(message)
        else:
            self._waiting.append(message)

    def _batch(self, line, now):
        if not self._batches:
            return self._refuse(b"null", INVALID_REQUEST, "batches are not part of this revision")
        found = batches.messages(line)
        if found is None:
            why = f"a batch is an array of 1 to {batches.MOST} messages"
            return self._refuse(b"null", INVALID_REQUEST, why)
        answers = batches.Answers(self._to_client)
        for each in found:
            kind = scan(each, 0, len(each), self._spans, MAX_DEPTH)
            if kind > 0:
                self._message(each, now, answers)
            else:
                answers.expect()
                error = error_object(INVALID_REQUEST, "not a JSON-RPC 2.0 message")
                answers.add(b'{"jsonrpc":"2.0","id":null,"error":%s}' % error)
        return answers.close()

    def oversize(self, head, size):
        """A line was longer than the bridge accepts: head is how it begins, size the limit."""
        scan(head, 0, len(head), self._spans, MAX_DEPTH)
        id = self._span(head, ID) or b"null"
        self._refuse(id, INVALID_REQUEST, f"message of more than {size} bytes")

    # -- from the board

    def board_up(self, rx, restarted, now):
        """The board serves; rx: the longest line it takes; restarted: it forgot the
        conversation.
        """
        self._serving = True
        self._rx = rx
        if restarted and self._initialize:
            self._replay(now)
        else:
            self._flush()

    def board_same(self):
        """The board still runs the gateway it ran."""
        doubted, self._doubted = self._doubted, []
        for message, line in doubted:
            self._reply(message, line)

    def board_down(self, why, now):
        """The board is gone or restarts: what was under way gets no answer any more."""
        self._serving = False
        self._replay_until = None
        self._why = why
        self._unnamed = 0
        flight, self._flight = self._flight, {}
        doubted, self._doubted = self._doubted, []
        for message, _ in reversed(doubted):
            self._wait_again(message, now)
        for message in (m for messages in flight.values() for m in messages):
            if message.method in _HANDSHAKE:
                self._wait_again(message, now)
            else:
                text = f"{why}; the request may have been executed"
                self._refuse(message.id, BOARD_RESET, text, message)

    def board_line(self, line):
        """One MCP line of the board."""
        spans = self._spans
        kind = scan(line, 0, len(line), spans, MAX_DEPTH)
        id = self._span(line, ID)
        if kind in (REQUEST, NOTIFICATION):
            self._to_client(line)
        elif kind in (RESPONSE, ERROR_RESPONSE):
            self._answer(line, kind, id)
        elif message := self._take(id):
            # Sent, and perhaps executed, but the answer was damaged between the board and here.
            self._log.info("an answer of the board arrived damaged")
            text = "the board's answer was damaged on the line"
            self._refuse(id, INTERNAL_ERROR, text, message)
        else:
            self._log.info(f"dropped a line of the board that is not MCP ({kind})")

    def tick(self, now):
        """To be called a few times a second."""
        if self._replay_until is not None and now > self._replay_until:
            self._log.info("the board did not answer the repeated initialize")
            self._replay_until = None
            self._flush()
        if self._ready or all(message.deadline > now for message in self._waiting):
            return
        waiting, self._waiting = self._waiting, deque()
        for message in waiting:
            if message.deadline > now:
                self._waiting.append(message)
            elif message.kind == REQUEST:
                text = f"{self._why}; the request was not sent"
                self._refuse(message.id, BOARD_RESET, text, message)
            elif message.kind < 0:
                self._refuse(message.id or b"null", PARSE_ERROR, "not a valid message")

    # -- inside

    @property
    def _ready(self):
        return self._serving and self._replay_until is None

    def _span(self, line, field):
        start = self._spans[2 * field]
        return line[start : self._spans[2 * field + 1]] if start >= 0 else None

    def _send(self, message):
        size = len(message.line)
        if size > self._rx:
            text = f"message of {size} bytes; the board takes {self._rx}"
            if message.kind == REQUEST or message.kind < 0:
                self._refuse(message.id or b"null", INVALID_REQUEST, text, message)
            self._log.info(f"not sent: {text}")
            return
        if message.kind == REQUEST:
            self._flight.setdefault(message.id, []).append(message)
        elif message.kind < 0:
            self._unnamed += 1
        elif message.method == "notifications/initialized":
            self._initialized = message.line
        self._to_board(message.line)

    def _wait_again(self, message, now):
        """Queue a request that was sent and certainly not executed."""
        message.deadline = now + self._wait_s
        self._waiting.appendleft(message)

    def _flush(self):
        while self._waiting and self._ready:
            self._send(self._waiting.popleft())

    def _answer(self, line, kind, id):
        if id == REPLAY_ID:
            if kind == ERROR_RESPONSE:
                self._log.info(f"the board refused the repeated initialize: {line.decode()}")
            if self._replay_until is not None:
                self._replay_until = None
                if self._initialized:
                    self._to_board(self._initialized)
                self._flush()
            return
        message = self._take(id)
        if message is not None:
            if message.method == "initialize" and kind == RESPONSE:
                self._initialize = message.line
                self._batches = batches.agreed(line)
            if kind == ERROR_RESPONSE and self._initialize and _NO_HANDSHAKE in line:
                self._doubted.append((message, line))
                self._doubt()
                return
            self._reply(message, line)
        elif self._unnamed and kind == ERROR_RESPONSE:
            # The answer to a line that was not a valid message: with its id if one was found.
            self._unnamed -= 1
            self._to_client(line)
        else:
            self._log.info("dropped an answer that nobody waits for")

    def _take(self, id):
        """Take the oldest request with this raw id out of those under way, or None."""
        messages = self._flight.get(id)
        if not messages:
            return None
        message = messages.pop(0)
        if not messages:
            del self._flight[id]
        return message

    def _cancelled(self, line):
        """Note a cancellation; True when its request never left, so that the board needs no
        word.
        """
        params = parse(self._span(line, PARAMS) or b"{}")
        wanted = params.get("requestId")
        for message in list(self._waiting):
            if message.kind == REQUEST and _same(message.id, wanted):
                self._waiting.remove(message)
                self._drop(message)
                return True
        for id in list(self._flight):
            if _same(id, wanted):
                # An answer that comes all the same is not for the client.
                for message in self._flight.pop(id):
                    self._drop(message)
        return False

    def _replay(self, now):
        """Say again what the client said when it began."""
        line = self._initialize
        scan(line, 0, len(line), self._spans, MAX_DEPTH)
        start, end = self._spans[2 * ID], self._spans[2 * ID + 1]
        self._log.info("repeating the client's initialize")
        self._replay_until = now + REPLAY_S
        self._to_board(line[:start] + REPLAY_ID + line[end:])

    def _refuse(self, id, code, text, message=None):
        """Answer with an error of the bridge. message: the one that is answered, if known."""
        line = b'{"jsonrpc":"2.0","id":%s,"error":%s}' % (id, error_object(code, text))
        self._reply(message, line)

    def _reply(self, message, line):
        if message and message.batch:
            message.batch.add(line)
        else:
            self._to_client(line)

    def _drop(self, message):
        if message.batch:
            message.batch.drop()


def _same(raw, value):
    """Whether the raw JSON id is the parsed value; 1 and "1" and true are three different ids."""
    own = parse(raw)
    return type(own) is type(value) and own == value
