"""Questions to the client in the middle of a request: sampling, elicitation, roots.

A legacy client gets requests and answers them while the tool waits. A client of 2026-07-28 gets
an InputRequiredResult; when it comes back with answers, the tool runs again from its beginning,
and this time its questions are answered. What was answered in earlier rounds travels in
requestState, sealed with an HMAC so that nobody but this gateway can have written it.
"""

import asyncio
import json
from binascii import a2b_base64, b2a_base64, hexlify
from hashlib import sha256

from .compat import MICROPYTHON
from .errors import INVALID_PARAMS, MISSING_CAPABILITY, ProtocolError, ToolError
from .hmac256 import hmac_sha256, same
from .protocol.jsontext import loads
from .protocol.jsonvalue import checked, dumps
from .protocol.revisions import URL_ELICITATION

_NEEDS = {
    "sampling/createMessage": "sampling",
    "elicitation/create": "elicitation",
    "roots/list": "roots",
}
_TAG = 16  # bytes of the HMAC that are kept
_ACTIONS = ("accept", "decline", "cancel")


# What may end a task without ending the event loop, and is no Exception.
_Ending = asyncio.CancelledError if MICROPYTHON else BaseException


class InputNeeded(_Ending):
    """Ends a tool whose questions the client has yet to answer; not for tools to catch."""

    def __init__(self, questions):
        super().__init__("the client has to answer first")
        self.questions = questions


class Question:
    """method: what the client is asked to do; params: dict; form: what elicit.elicit_schema()
    takes, for a question by form."""

    def __init__(self, method, params, form=None):
        self.method = method
        self.params = params
        self.form = form

    def fit(self, revision):
        """Complete the params for clients of `revision`."""
        if self.form is not None:
            from .elicit import elicit_schema

            plain = not revision.features & URL_ELICITATION
            self.params["requestedSchema"] = elicit_schema(self.form, plain)

    def row(self):
        """As a member of inputRequests."""
        return {"method": self.method, "params": self.params}

    def taken(self, answer):
        """The answer as the tool gets it. Raises ToolError where it does not answer this."""
        if isinstance(answer, dict):
            if self.method == "elicitation/create":
                if answer.get("action") in _ACTIONS:
                    return self._form_of(answer)
            elif self.method == "roots/list":
                if isinstance(answer.get("roots"), list):
                    return answer
            elif "content" in answer and isinstance(answer.get("role"), str):
                return answer
        raise ToolError("the client's answer to %s is not one" % self.method)

    def _form_of(self, answer):
        if self.form is None or answer["action"] != "accept":
            return answer
        content = answer.get("content")
        if not isinstance(content, dict):
            raise ToolError("the client's answer lacks the form's content")
        from .elicit import check_elicited

        return dict(answer, content=check_elicited(self.form, content))

    def missing(self, capabilities):
        """The capability (dict) that a client with `capabilities` lacks for it, or None."""
        name = _NEEDS[self.method]
        has = capabilities.get(name)
        if not isinstance(has, dict):
            return {name: {}}
        part = None
        if self.params.get("mode") == "url":
            part = "url"
        elif name == "elicitation" and has and "form" not in has and "url" in has:
            part = "form"
        elif "tools" in self.params:
            part = "tools"
        if part and part not in has and (has or part != "form"):
            return {name: {part: {}}}
        return None


def capabilities_of(request):
    """What the client at hand can do (dict)."""
    if request.revision.modern:
        return meta_of(request).get("io.modelcontextprotocol/clientCapabilities") or {}
    return request.session.capabilities or {}


def extensions_of(request):
    """The extensions that the client at hand declares (dict)."""
    found = capabilities_of(request).get("extensions")
    return found if isinstance(found, dict) else {}


def meta_of(request):
    """_meta of a request as a dict."""
    raw = request.meta
    return loads(raw, b"\\" in raw) if raw else {}


def require(request, questions):
    """Make the questions fit the client; raise what says that it cannot answer one of them."""
    capabilities = capabilities_of(request)
    for question in questions.values():
        question.fit(request.revision)
        if checked(question.params) is None:
            raise ToolError("a question that has no JSON form")
        lacks = question.missing(capabilities)
        if lacks:
            if request.revision.modern:
                raise ProtocolError(
                    MISSING_CAPABILITY,
                    "missing required client capability",
                    {"requiredCapabilities": lacks},
                )
            raise ToolError("the client does not support %s" % _NEEDS[question.method])


async def ask(request, questions, timeout_ms):
    """questions: dict of key -> Question. Returns a dict of key -> answer (dict).

    Raises ToolError when a legacy client refuses or does not answer in time, ProtocolError when it
    lacks the capability, InputNeeded when a modern client has to be asked first.
    """
    if not questions:
        return {}
    if request.stale:
        raise ToolError("nobody is there to be asked: the call is over")
    require(request, questions)
    if request.task:
        return await request.task.ask(questions)
    if request.revision.modern:
        return _known(request, questions)
    return await ask_legacy(request, questions, timeout_ms, request.port.send)


async def sampled(function, params):
    """A CreateMessageResult (dict) made here: function(params), plain or async, returns its text
    or a dict of its members. Raises ToolError where that fails."""
    try:
        found = function(params)
        if hasattr(found, "send"):
            found = await found
    except (ToolError, ProtocolError):
        raise
    except Exception as e:
        raise ToolError("the function for sampling failed: %s: %s" % (type(e).__name__, e)) from e
    if isinstance(found, str):
        found = {"content": {"type": "text", "text": found}}
    if not isinstance(found, dict) or "content" not in found or checked(found) is None:
        raise ToolError("the function for sampling gave no message")
    row = {"role": "assistant", "model": "local", "stopReason": "endTurn"}
    row.update(found)
    return row


def _known(request, questions):
    answers = request.answers or {}
    found = {}
    missing = {}
    for key, question in questions.items():
        try:
            found[key] = question.taken(answers.get(key))
        except ToolError:
            missing[key] = question
    if missing:
        raise InputNeeded(missing)
    return found


async def ask_legacy(request, questions, timeout_ms, send, meta=None):
    """Ask by requests through send(parts), all at once; meta: dict for their _meta."""
    session = request.session
    waiting = _Answers(len(questions))
    ids = {}
    for key, question in questions.items():
        ids[key] = id = session.ask(waiting.taker(key))
        params = question.params
        if meta:
            params = dict(params, _meta=meta)
        head = '{"jsonrpc":"2.0","id":%d,"method":"%s"' % (id, question.method)
        parts = [head.encode()]
        if params:
            parts += [b',"params":', dumps(params)]
        send(parts + [b"}"])
    try:
        await asyncio.wait_for(waiting.all.wait(), timeout_ms / 1000)
    except asyncio.TimeoutError:
        raise ToolError("the client did not answer in time") from None
    finally:
        for id in ids.values():
            if session.asked.pop(id, None):
                told = b'{"requestId":%d,"reason":"no longer needed"}' % id
                head = b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":'
                send([head, told, b"}"])
    found = {}
    for key, question in questions.items():
        ok, answer = waiting.rows[key]
        if not ok:
            told = answer.get("message") if isinstance(answer, dict) else None
            raise ToolError("the client refused: %s" % (told or "no reason given"))
        found[key] = question.taken(answer)
    return found


class _Answers:
    def __init__(self, due):
        self.rows = {}
        self.all = asyncio.Event()
        self._due = due

    def taker(self, key):
        def take(ok, raw):
            try:
                self.rows[key] = ok, loads(raw, b"\\" in raw)
            except (ValueError, MemoryError):
                self.rows[key] = False, None
            if len(self.rows) == self._due:
                self.all.set()

        return take


class Seal:
    """Makes requestState and reads it back. key: secret bytes; ttl_s: how long a state is good."""

    def __init__(self, key, ttl_s):
        self._key = key
        self._ttl_s = ttl_s

    def close(self, request, arguments, now_s, answers, state):
        """The requestState (str) for a request: its answers so far and the tool's own state."""
        row = {"x": now_s + self._ttl_s, "a": answers, "s": state}
        data = checked(row)
        if data is None:
            raise ToolError("the state of the call has no JSON form")
        tag = hmac_sha256(self._key, _origin(request, arguments), data)[:_TAG]
        return b2a_base64(tag + data).decode().strip()

    def open(self, text, request, arguments, now_s):
        """(answers, state) from a requestState. Raises ProtocolError for one that was not made
        here, for this request and this client, or is too old."""
        try:
            blob = a2b_base64(text)
            if b2a_base64(blob).decode().strip() != text:
                raise ValueError
        except (ValueError, TypeError):
            blob = b""
        data = blob[_TAG:]
        tag = hmac_sha256(self._key, _origin(request, arguments), data)[:_TAG]
        if len(blob) <= _TAG or not same(tag, blob[:_TAG]):
            raise ProtocolError(INVALID_PARAMS, "requestState was not made for this request")
        row = json.loads(data)
        if row["x"] < now_s:
            raise ProtocolError(INVALID_PARAMS, "requestState has expired: call again")
        return row["a"], row["s"]


def _origin(request, arguments):
    """What a state is bound to: who asks, and what for."""
    digest = sha256(b"%d" % request.kind)
    for part in ((request.session.principal or "").encode(), request.name.encode(), arguments):
        digest.update(b"%d:" % len(part))
        digest.update(part)
    return hexlify(digest.digest())


def input_required(request, questions, state, stamp):
    """The answer (parts) that asks the client. stamp: JSON text for the result's _meta."""
    row = {key: question.row() for key, question in questions.items()}
    return [
        b'{"jsonrpc":"2.0","id":',
        request.id,
        b',"result":{"resultType":"input_required","inputRequests":',
        dumps(row),
        b',"requestState":',
        dumps(state),
        b",",
        stamp,
        b"}}",
    ]
