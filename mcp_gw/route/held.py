"""Calls to legacy servers that wait, in the middle, for the answer to a question of the server.

Up to 2025-11-25 a server asks its client by a request of its own while the call goes on. Whoever
made the call here learns of it as revision 2026-07-28 has it: the outcome so far is a result of
type input_required, whose requestState names the call that waits. When the request is made again
with that requestState and with the answers, the call goes on.
"""

import asyncio

from ..compat import const, sleep_ms
from ..errors import INTERNAL_ERROR, INVALID_PARAMS, METHOD_NOT_FOUND, NoAnswer
from ..protocol.client import QUESTIONS
from ..protocol.jsontext import loads, member, members
from ..protocol.jsonvalue import dumps
from ..transports.link import random_hex

_GONE = "the call that this answer is for does not wait any more: make the call again"
# A stream that goes on after it broke may repeat what it said; of so many questions it is seen.
_MAX_SEEN = const(32)


def is_new(seen, id):
    """Whether a question's id (bytes) is not yet in the list `seen`, where it is kept then."""
    if id in seen:
        return False
    if len(seen) >= _MAX_SEEN:
        seen.pop(0)
    seen.append(id)
    return True


class Call:
    """One call, from its beginning to its outcome. Carriers of messages extend it.

    held: the Held it belongs to; on_progress: None or function(raw), for whoever waits for it now;
    can: JSON text (bytes) of the capabilities of who made the call: what it can be asked.
    """

    MAX_QUESTIONS = 32

    def __init__(self, held, on_progress=None, can=b"{}"):
        self.on_progress = on_progress
        self.can = can
        self.done = False
        self._held = held
        self._task = None
        self._outcome = self._error = None
        self._wake = asyncio.Event()
        self._asked = {}  # key -> [method, JSON text of params, Event, JSON text of the answer]
        self._count = 0

    async def ask(self, method, params):
        """The server asks. Returns (ok, raw): raw is the JSON text of the answer, or of an error
        object.

        params: JSON text (bytes), b"" for none. When nobody answers in time the call is given up.
        """
        why = self._refusal(method, params)
        if why:
            return False, why
        self._count += 1
        key = "q%d" % self._count
        row = self._asked[key] = [method, params, asyncio.Event(), None]
        self._wake.set()
        try:
            await asyncio.wait_for(row[2].wait(), self._held.wait_ms / 1000)
        except asyncio.TimeoutError:
            self.end()
        finally:
            self._asked.pop(key, None)
        if row[3] is None:
            return False, _error(INTERNAL_ERROR, "nobody has answered")
        return True, row[3]

    def _refusal(self, method, params):
        """Why a question is not passed on: JSON text of an error object, or None."""
        can = loads(self.can, b"\\" in self.can).get(QUESTIONS[method])
        if self.done or not isinstance(can, dict):
            return _error(METHOD_NOT_FOUND, "not supported by this client")
        if method == "elicitation/create":
            mode = loads(member(params, b"mode") or b'"form"', True) if params else "form"
            if not isinstance(mode, str) or mode not in (can or ("form",)):
                return _error(INVALID_PARAMS, "this mode is not supported by this client")
        if self._count >= self.MAX_QUESTIONS:
            return _error(INTERNAL_ERROR, "too many questions in one call")
        if not self._asked and self._held.count >= self._held.most:
            return _error(INTERNAL_ERROR, "too many calls wait for answers")
        return None

    def start(self, work):
        """work: coroutine that carries the call out and returns (ok, raw)."""
        self._held.calls.append(self)
        self._task = asyncio.create_task(self._work(work))

    async def _work(self, work):
        try:
            self._outcome = await work
        except asyncio.CancelledError:
            self._error = NoAnswer("the call was given up")
        except Exception as e:
            self._error = e
        self._over()

    def _over(self):
        self.done = True
        if self in self._held.calls:
            self._held.calls.remove(self)
        self._wake.set()

    def end(self):
        """Give the call up."""
        self._held.forget(self)
        if not self.done:
            self._task.cancel()
            self._over()
        for row in list(self._asked.values()):
            row[2].set()

    async def turn(self):
        """Wait until the call has its outcome or the server asks. Returns (ok, raw), or None.

        Raises what the work raised.
        """
        while not self.done and not self._asked:
            self._wake.clear()
            await self._wake.wait()
        if not self.done:
            await sleep_ms(0)  # what is asked together is passed on together
        if not self.done:
            return None
        if self._error is not None:
            raise self._error
        return self._outcome

    def questions(self, state):
        """JSON text (bytes) of the result that passes the questions on."""
        rows = []
        for key, row in self._asked.items():
            params = b',"params":' + row[1] if row[1] else b""
            rows.append(('"%s":{"method":"%s"' % (key, row[0])).encode() + params + b"}")
        head = '{"resultType":"input_required","requestState":"%s","inputRequests":{' % state
        return head.encode() + b",".join(rows) + b"}}"

    def resume(self, answers):
        """answers: JSON text (bytes) of inputResponses; those that are missing are asked again."""
        for key, _, lo, hi in members(answers):
            row = self._asked.pop(key.decode(), None)
            if row is not None:
                row[3] = answers[lo:hi]
                row[2].set()


class Held:
    """The calls of one upstream that go on, and those of them that wait for answers.

    most: how many may wait at once; wait_ms: how long a question waits for its answer.
    """

    def __init__(self, most, wait_ms):
        self.most = most
        self.wait_ms = wait_ms
        self.calls = []  # under way
        self._waiting = {}  # requestState -> Call

    @property
    def count(self):
        """How many calls wait."""
        return len(self._waiting)

    def find(self, params):
        """The call that goes on with a request, given the JSON text (bytes) of its params.

        Returns (None, None) for a request that begins a call, (None, error object) when its call
        is gone.
        """
        state = None
        if b'"requestState"' in params:
            state = member(params, b"requestState")
        if state is None:
            return None, None
        call = self._waiting.pop(loads(state, True), None)
        if call is None:
            return None, _error(INVALID_PARAMS, _GONE)
        answers = member(params, b"inputResponses")
        if answers and answers[:1] == b"{":
            call.resume(answers)
        return call, None

    async def outcome(self, call):
        """Wait for the call's outcome, or its next question. Returns (ok, raw) as Upstream.request
        does. Cancelled, it gives the call up."""
        try:
            out = await call.turn()
        except BaseException:
            call.end()
            raise
        if out is None:
            state = random_hex(32)
            self._waiting[state] = call
            out = True, call.questions(state)
        return out

    def drop(self, state):
        """Give up the call that waits under this requestState (str), if there is one."""
        call = self._waiting.get(state)
        if call is not None:
            call.end()

    def forget(self, call):
        for state, waiting in list(self._waiting.items()):
            if waiting is call:
                del self._waiting[state]

    def close(self):
        """Give up all calls."""
        for call in self.calls[:]:
            call.end()


def _error(code, message):
    """JSON text of an error object."""
    return dumps({"code": code, "message": message})
