"""What an upstream asks in the middle of a request, and how it gets its answers.

To us every upstream asks as revision 2026-07-28 has it: by a result of type input_required. What
the gateway's user has a function for (sampling) is answered here. The rest goes to the client: a
legacy one is asked by requests of ours, and the request is made again with its answers; a client
of 2026-07-28 gets an input_required result of its own, and makes its request again itself. The
requestState it then brings back holds the upstream's, the request's key and what was answered
here, sealed.
"""

from ..asking import Question, ask_legacy, require, sampled
from ..compat import sleep_ms
from ..errors import INTERNAL_ERROR, INVALID_PARAMS, ProtocolError, ToolError
from ..protocol.jsontext import loads, member, members
from ..protocol.jsonvalue import dumps

_MAX_ROUNDS = 16  # of questions in one request
_MAX_QUESTIONS = 16  # at once
_MAX_MUSING = 4  # functions for sampling that run at once: one that leads back here must end
_METHODS = ("sampling/createMessage", "elicitation/create", "roots/list")
_PAUSE_MS = 500  # when an upstream has nothing to ask and wants the request again all the same
_LOCAL = "sampling/createMessage"


async def settle(passage, raw):
    """Go on with a request whose upstream asks, until its outcome, or until the client has to come
    back with answers. raw: JSON text (bytes) of the input_required result."""
    state = None
    passage.kept = None  # an answered question cannot wait in the queue
    try:
        for _ in range(_MAX_ROUNDS):
            state, questions = _read(raw)
            answers, rest = await _answered_here(passage, questions)
            if rest and passage.request.revision.modern:
                require(passage.request, rest)
                _pass_on(passage, state, answers, rest)
                return
            if rest:
                require(passage.request, rest)
                timeout_ms = passage.forwarder.ask_timeout_ms
                port = passage.port
                answers.update(await ask_legacy(passage.request, rest, timeout_ms, port.send))
            elif not questions:
                if passage.again is None:
                    if not passage.request.revision.modern:
                        raise ToolError("it wants to be asked again, which takes questions")
                    _pass_on(passage, state, answers, rest)
                    return
                await sleep_ms(_PAUSE_MS)
            state, used = None, state
            ok, raw, err = await passage.next_round(used, dumps(answers))
            if not (ok and passage.upstream.asks(raw)):
                passage.finish(ok, raw, err)
                return
        state, _ = _read(raw)
        raise ToolError("more than %d rounds of questions" % _MAX_ROUNDS)
    except Exception as e:
        if isinstance(e, ProtocolError):
            row = {"code": e.code, "message": e.message, "data": e.data}
        else:
            told = str(e) if isinstance(e, ToolError) else "%s: %s" % (type(e).__name__, e)
            row = {"code": INTERNAL_ERROR, "message": "%s: %s" % (passage.upstream.name, told)}
        passage.finish(False, dumps(row), None)
    finally:
        # Cancelled, or failed: a call that waits for answers is to wait no more.
        if state is not None and not passage.passed_on:
            passage.upstream.abandon(loads(state, True))


def _read(raw):
    """(JSON text of requestState or None, dict of key -> Question) of an input_required result."""
    state = member(raw, b"requestState")
    rows = member(raw, b"inputRequests") or b"{}"
    asked = loads(rows, b"\\" in rows)
    questions = {}
    if not isinstance(asked, dict) or len(asked) > _MAX_QUESTIONS:
        raise ToolError("it asks in a way that is not known")
    for key, row in asked.items():
        params = row.get("params", {}) if isinstance(row, dict) else None
        if not isinstance(params, dict) or row.get("method") not in _METHODS:
            raise ToolError("it asks something that is not known")
        questions[key] = Question(row["method"], params)
    return state, questions


async def _answered_here(passage, questions):
    """(answers, the other questions): those that a function of the user answers."""
    upstream = passage.upstream
    answers = {}
    rest = {}
    for key, question in questions.items():
        if question.method == _LOCAL and upstream.sampling:
            answers[key] = await _mused(upstream, question)
        else:
            rest[key] = question
    return answers, rest


async def _mused(upstream, question):
    if upstream.musing >= _MAX_MUSING:
        raise ToolError("too many of its questions are being answered")
    upstream.musing += 1
    try:
        return await sampled(upstream.sampling, question.params)
    finally:
        upstream.musing -= 1


def _pass_on(passage, state, answers, rest):
    """Answer a client of 2026-07-28 with what it has to answer itself."""
    request = passage.request
    passage.passed_on = True
    if not request.end():
        passage.passed_on = False
        return
    seal, now = passage.forwarder.seal()
    kept = {"k": passage.key, "s": state.decode() if state is not None else None}
    kept["u"] = passage.upstream.name
    sealed = seal.close(request, b"", now, answers, kept)
    row = {"resultType": "input_required", "requestState": sealed}
    if rest:
        row["inputRequests"] = {key: question.row() for key, question in rest.items()}
    passage.port.answer([b'{"jsonrpc":"2.0","id":', request.id, b',"result":', dumps(row), b"}"])


def returned(passage, params):
    """The params (JSON text, no _meta) to send upstream for a request that a client makes again
    with answers. params: as the client sent them (JSON text, bytes). None: it is no such request.

    Raises ProtocolError for a requestState that was not given for it.
    """
    given = None
    state = None
    rest = []
    for key, start, lo, hi in members(params):
        if key == b"inputResponses":
            given = params[lo:hi]
        elif key == b"requestState":
            state = params[lo:hi]
        elif key == b"name" and passage.name is not None:
            rest.append(b'"name":' + passage.name)
        elif key != b"_meta":
            rest.append(params[start:hi])
    if given is None and state is None:
        return None
    if given is not None and given[:1] != b"{":
        raise ProtocolError(INVALID_PARAMS, "inputResponses is an object")
    known = None
    if state is not None:
        seal, now = passage.forwarder.seal()
        known, kept = seal.open(loads(state, True), passage.request, b"", now)
        passage.key = kept["k"]
        state = kept["s"].encode() if kept["s"] is not None else None
    passage.again = b"{" + b",".join(rest) + b"}"
    if known:
        rows = loads(given, b"\\" in given) if given else {}
        rows.update(known)
        given = dumps(rows)
    added = []
    if given is not None:
        added.append(b'"inputResponses":' + given)
    if state is not None:
        added.append(b'"requestState":' + state)
    return b"{" + b",".join(added + rest) + b"}"
