"""The built-in model for others: POST /v1/chat/completions and /v1/completions, GET /v1/models, as
OpenAI's API has them (https://platform.openai.com/docs/api-reference), streams included."""

import asyncio
import contextlib
import json
import secrets
import time

from mcp_gw.errors import GatewayError

from .model_writers import NoText, Wish

_MODELS = "/v1/models"
_CHAT = "/v1/chat/completions"
_TEXT = "/v1/completions"
MAX_BODY = 1 << 20
_JSON = (b"content-type", b"application/json")
# What would make another answer than asked for, if it were passed over: name -> what it may be.
_FIXED = {
    "n": (1,),
    "best_of": (1,),
    "echo": (False,),
    "suffix": ("",),
    "logprobs": (False, 0),
    "tools": ([],),
    "functions": ([],),
    "audio": (),
    "response_format": ({"type": "text"},),
}
_PER_PATH = {_CHAT: "chat.completion", _TEXT: "text_completion"}


class Refused(Exception):
    """An error in OpenAI's form."""

    def __init__(self, status, message, code=None, param=None):
        super().__init__(message)
        self.status = status
        kind = "invalid_request_error" if status < 500 and status != 429 else "server_error"
        self.row = {"error": {"message": message, "type": kind, "param": param, "code": code}}


class Completions:
    """An ASGI application in front of another: it takes the paths above, and passes on the rest.

    guard: a guard.Guard; builtin: a model_writers.Builtin; most: tokens of one text.
    """

    def __init__(self, behind, guard, builtin, most):
        self._behind = behind
        self._guard = guard
        self._model = builtin
        self._most = most
        self._began = int(time.time())

    async def __call__(self, scope, receive, send):
        path = scope.get("path", "")
        if scope["type"] != "http" or not (path in _PER_PATH or path.startswith(_MODELS)):
            await self._behind(scope, receive, send)
            return
        try:
            self._let_in(scope)
            if path in _PER_PATH:
                _only(scope, "POST")
                wish = _Request(path, await _body(receive), self._model.name, self._most)
                await self._write(wish, receive, send)
            else:
                _only(scope, "GET")
                await _answer(send, 200, self._models(path[len(_MODELS) :]))
        except Refused as e:
            await _answer(send, e.status, e.row)

    def _let_in(self, scope):
        headers = dict(scope["headers"])
        peer = (scope.get("client") or ("",))[0]
        said = self._guard.check(scope["method"], scope["path"], headers, peer)
        if isinstance(said, tuple):
            told = json.loads(said[2]).get("error", {}).get("message", "not allowed")
            raise Refused(said[0], told, "invalid_api_key")

    def _models(self, rest):
        row = {
            "id": self._model.name,
            "object": "model",
            "created": self._began,
            "owned_by": "mcpgw",
        }
        if rest in ("", "/"):
            return {"object": "list", "data": [row]}
        if rest[1:] != self._model.name:
            raise Refused(404, f"there is no model {rest[1:]!r}", "model_not_found", "model")
        return row

    async def _write(self, request, receive, send):
        """Make the text, unless the client goes away."""
        pieces = asyncio.Queue()
        work = asyncio.ensure_future(self._text(request, pieces.put_nowait))
        work.add_done_callback(lambda _: pieces.put_nowait(None))
        gone = asyncio.ensure_future(_gone(receive))
        gone.add_done_callback(lambda _: work.cancel())
        try:
            if request.stream:
                await self._stream(request, work, pieces, send)
            else:
                await _answer(send, 200, request.whole(await _done(work)))
        except asyncio.CancelledError:
            if not gone.done():
                raise
        finally:
            gone.cancel()
            work.cancel()
            await asyncio.wait([work])

    def _text(self, request, on_piece):
        if request.prompt is not None:
            return self._model.go_on(request.prompt, request.wish, on_piece)
        return self._model.write(request.messages, request.wish, on_piece)

    async def _stream(self, request, work, pieces, send):
        # An error before the first piece still has a status of its own.
        piece = await pieces.get()
        if piece is None:
            await _done(work)
        fields = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        for row in request.first():
            await _event(send, row)
        while piece is not None:
            await _event(send, request.chunk(piece))
            piece = await pieces.get()
        try:
            for row in request.last(await _done(work)):
                await _event(send, row)
            data = b"data: [DONE]\n\n"
        except Refused as e:
            data = _data(e.row)
        await send({"type": "http.response.body", "body": data})


class _Request:
    """What is asked for. Raises Refused."""

    def __init__(self, path, body, name, most):
        try:
            row = json.loads(body)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise Refused(400, "the body is no JSON object")
        self._row = row
        self._kind = _PER_PATH[path]
        self._id = ("chatcmpl-" if path == _CHAT else "cmpl-") + secrets.token_hex(12)
        self._created = int(time.time())
        self._name = name
        if self._get("model", str, name) != name:
            told = f"there is no model {row['model']!r}, only {name!r}"
            raise Refused(404, told, "model_not_found", "model")
        for key, allowed in _FIXED.items():
            if row.get(key) is not None and row[key] not in allowed:
                raise Refused(400, f"{key} is not supported", "unsupported_parameter", key)
        self.prompt = self.messages = None
        if path == _TEXT:
            self.prompt = self._prompt()
        else:
            self.messages = self._messages()
        self.stream = self._get("stream", bool, False)
        options = self._get("stream_options", dict, {})
        self._usage = bool(options.get("include_usage"))
        most_here = self._get("max_tokens", int, min(most, 16 if path == _TEXT else most))
        self.wish = Wish(
            max(1, min(most, self._get("max_completion_tokens", int, most_here))),
            self._number("temperature", 0, 5),
            self._number("top_p", 0, 1),
            self._get("seed", int, None),
            self._stop(),
        )

    def _get(self, key, kind, default):
        value = self._row.get(key)
        if value is None:
            return default
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise Refused(400, f"{key} is of a wrong type", "invalid_type", key)
        return value

    def _number(self, key, low, high):
        value = self._get(key, (int, float), None)
        if value is not None and not low <= value <= high:
            raise Refused(400, f"{key} must be from {low} to {high}", "invalid_value", key)
        return value

    def _stop(self):
        stop = self._get("stop", (str, list), [])
        stop = [stop] if isinstance(stop, str) else stop
        if len(stop) > 16 or not all(isinstance(text, str) and text for text in stop):
            raise Refused(400, "stop is a text or a list of texts", "invalid_type", "stop")
        return tuple(stop)

    def _prompt(self):
        prompt = self._get("prompt", (str, list), "")
        if isinstance(prompt, list) and len(prompt) == 1:
            prompt = prompt[0]
        if not isinstance(prompt, str):
            raise Refused(400, "prompt is one text", "unsupported_parameter", "prompt")
        return prompt

    def _messages(self):
        messages = self._get("messages", list, [])
        if not messages or not all(isinstance(row, dict) for row in messages):
            raise Refused(400, "messages is a list of messages", "invalid_type", "messages")
        return messages

    # Answers.

    def _head(self, object_):
        return {
            "id": self._id,
            "object": object_,
            "created": self._created,
            "model": self._name,
        }

    def _choice(self, said, reason):
        return {"index": 0, **said, "logprobs": None, "finish_reason": reason}

    def whole(self, written):
        if self.messages is None:
            said = {"text": written.text}
        else:
            said = {"message": {"role": "assistant", "content": written.text, "refusal": None}}
        choices = [self._choice(said, written.reason)]
        return self._head(self._kind) | {"choices": choices, "usage": written.usage}

    def _chunk(self, said, reason=None):
        kind = self._kind if self.messages is None else self._kind + ".chunk"
        row = self._head(kind) | {"choices": [self._choice(said, reason)]}
        return row | {"usage": None} if self._usage else row

    def first(self):
        """Before the first piece."""
        if self.messages is not None:
            yield self._chunk({"delta": {"role": "assistant", "content": ""}})

    def chunk(self, piece):
        return self._chunk(
            {"text": piece} if self.messages is None else {"delta": {"content": piece}}
        )

    def last(self, written):
        """After the last."""
        said = {"text": ""} if self.messages is None else {"delta": {}}
        yield self._chunk(said, written.reason)
        if self._usage:
            yield self._chunk({}) | {"choices": [], "usage": written.usage}


async def _done(work):
    try:
        return await work
    except NoText as e:
        raise Refused(e.status, str(e), e.code) from None
    except GatewayError as e:
        raise Refused(500, str(e)) from None


def _only(scope, method):
    if scope["method"] != method:
        raise Refused(405, f"{scope['path']} is for {method}")


async def _body(receive):
    pieces = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused(400, "the body ends too soon")
        pieces.append(message.get("body", b""))
        size += len(pieces[-1])
        if size > MAX_BODY:
            raise Refused(413, f"the body is longer than {MAX_BODY} bytes")
        if not message.get("more_body"):
            return b"".join(pieces)


async def _gone(receive):
    while (await receive())["type"] != "http.disconnect":
        pass


async def _answer(send, status, row):
    body = json.dumps(row).encode()
    fields = [_JSON, (b"content-length", str(len(body)).encode())]
    if status == 401:
        fields.append((b"www-authenticate", b"Bearer"))
    with contextlib.suppress(OSError):  # the client is gone
        await send({"type": "http.response.start", "status": status, "headers": fields})
        await send({"type": "http.response.body", "body": body})


def _data(row):
    return b"data: " + json.dumps(row).encode() + b"\n\n"


async def _event(send, row):
    await send({"type": "http.response.body", "body": _data(row), "more_body": True})
