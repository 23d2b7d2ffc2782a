"""Batches: many keyed calls of a board in one request, `mcp-gw/deliver`.

params: {"calls": [{"key": K, "params": {...}}, ...], "max_bytes": N}, or in place of "calls" their
JSON text compressed, "deflate": base64 of raw deflate. The result has an outcome for each call:
{"key", "result"}, {"key", "error"}, or {"key", "retry_ms"}; a key that is missing is to be asked
about again, too. docs/pi.md specifies it.
"""

import asyncio
import base64
import binascii
import json
import re
import zlib

from mcp_gw.errors import (
    INVALID_PARAMS,
    UPSTREAM_TIMEOUT,
    UPSTREAM_UNAVAILABLE,
    GatewayError,
    NoAnswer,
    ProtocolError,
    Unavailable,
)
from mcp_gw.protocol.jsontext import items, member, members
from mcp_gw.route.upstream import error_of

from .calls import dump, error_object, parse, tool_error

METHOD = "mcp-gw/deliver"
MAX_CALLS = 32
# Of the JSON text of all calls in a batch, unpacked.
MAX_BYTES = 1 << 20
MAX_KEY = 128
# How long a batch is worked on before it is answered with what is there.
WAIT_S = 20.0
RETRY_MS = 1000
AWAY_MS = 5000
_LEAST_BYTES = 512
_HALF = re.compile("[\ud800-\udfff]")  # halves of characters, which cannot be written down
_HEAD = b'{"resultType":"complete","outcomes":['


class Busy(Unavailable):
    """As much as may be is under way; ask again after retry_ms."""

    retry_ms = RETRY_MS


class Job:
    """One call of a batch. begun: whether it may be executed by now, and is not to be stopped."""

    def __init__(self, key, params):
        self.key = key
        self.params = params
        self.begun = False


def unpack(params, most=MAX_CALLS):
    """(Jobs, max_bytes) of a batch. params: JSON text (bytes) of an object. Raises
    ProtocolError."""
    calls = packed = None
    max_bytes = MAX_BYTES
    for name, _, lo, hi in members(params):
        if name == b"calls":
            calls = params[lo:hi]
        elif name == b"deflate":
            packed = params[lo:hi]
        elif name == b"max_bytes":
            max_bytes = parse(params[lo:hi])
    if type(max_bytes) is not int or max_bytes < _LEAST_BYTES:
        raise _wrong(f"max_bytes must be a whole number of at least {_LEAST_BYTES}")
    if calls is None and packed is not None:
        calls = inflated(packed)
    if calls is None or calls[:1] != b"[":
        raise _wrong('"calls" must be a list, or "deflate" a compressed one')
    if len(calls) > MAX_BYTES:
        raise _wrong(f"a batch may have {MAX_BYTES} bytes")
    jobs = [_job(calls[lo:hi]) for lo, hi in items(calls, 0)]
    if not 0 < len(jobs) <= most:
        raise _wrong(f"a batch has 1 to {most} calls")
    return jobs, max_bytes


def inflated(packed):
    """The JSON text in the member "deflate" (raw JSON). Raises ProtocolError."""
    try:
        data = base64.b64decode(parse(packed), validate=True)
        stream = zlib.decompressobj(-15)
        text = stream.decompress(data, MAX_BYTES + 1)
        if len(text) > MAX_BYTES:
            raise _wrong(f"a batch may have {MAX_BYTES} bytes")
        if not stream.eof:
            raise ValueError("it ends too early")
        # What follows works on the text alone, so that it has to be valid.
        json.loads(text)
    except (
        ValueError,
        TypeError,
        AttributeError,
        zlib.error,
        binascii.Error,
        RecursionError,
    ) as e:
        raise _wrong(f'"deflate" cannot be unpacked: {e}') from e
    return text.strip()


def _job(raw):
    key = params = None
    if raw[:1] == b"{":
        key, params = member(raw, b"key"), member(raw, b"params")
    key = parse(key) if key else None
    if not isinstance(key, str) or not 0 < len(key) <= MAX_KEY or _HALF.search(key):
        raise _wrong(f"each call has a key of 1 to {MAX_KEY} characters")
    if params is None or params[:1] != b"{":
        raise _wrong("each call has params, an object")
    return Job(key, params)


def _wrong(why):
    return ProtocolError(INVALID_PARAMS, "mcp-gw/deliver: " + why)


class Deliveries:
    """Runs batches. Calls that have begun go on when their batch was answered, or its board is
    gone: their outcomes are recorded under their keys."""

    def __init__(self, log, wait_s=WAIT_S):
        self._log = log
        self._wait_s = wait_s
        self._under_way = set()
        self.batches = self.jobs = self.answered = 0  # so far

    async def run(self, jobs, max_bytes, execute):
        """The JSON text of the result of a batch.

        execute: coroutine function(job) -> (ok, raw JSON text); it sets job.begun, and raises
        Unavailable (Busy among them) for what was not executed, NoAnswer for what may have been.
        """
        self.batches += 1
        self.jobs += len(jobs)
        tasks = [asyncio.ensure_future(execute(job)) for job in jobs]
        for task in tasks:
            self._under_way.add(task)
            task.add_done_callback(self._over)
        try:
            await asyncio.wait(tasks, timeout=self._wait_s)
        finally:
            for job, task in zip(jobs, tasks, strict=True):
                if not job.begun:
                    task.cancel()
        return self._result(jobs, tasks, max_bytes)

    async def close(self):
        """To be called after Calls.close(), which ends the calls."""
        tasks = list(self._under_way)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _over(self, task):
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # it was seen

    def _result(self, jobs, tasks, max_bytes):
        room = max_bytes - len(_HEAD) - 2
        rows = []
        for job, task in zip(jobs, tasks, strict=True):
            row = self._outcome(job, task)
            if len(row) + 1 > room and not rows:
                row = _shortened(job, row, room)
            if len(row) + 1 <= room:
                room -= len(row) + 1
                rows.append(row)
        self.answered += len(rows)
        return _HEAD + b",".join(rows) + b"]}"

    def _outcome(self, job, task):
        key = b'{"key":' + dump(job.key)
        if not task.done() or task.cancelled():
            return key + b',"retry_ms":%d}' % RETRY_MS
        try:
            ok, raw = task.result()
        except Unavailable as e:
            return key + b',"retry_ms":%d}' % getattr(e, "retry_ms", AWAY_MS)
        except NoAnswer:
            return key + b',"retry_ms":%d}' % RETRY_MS
        except ProtocolError as e:
            ok, raw = False, error_object(e.code, e.message)
        except GatewayError as e:
            self._log.info(f"{job.key}: {e}")
            return key + b',"retry_ms":%d}' % AWAY_MS
        except Exception as e:  # somebody waits for the rest of the batch
            self._log.info(f"internal error: {job.key}: {e!r}")
            return key + b',"retry_ms":%d}' % AWAY_MS
        if not ok and error_of(raw)[0] in (UPSTREAM_UNAVAILABLE, UPSTREAM_TIMEOUT):
            return key + b',"retry_ms":%d}' % AWAY_MS  # said by a gateway further on
        return key + (b',"result":' if ok else b',"error":') + raw + b"}"


def _shortened(job, row, room):
    """An outcome that says why the real one, which has more than `room` bytes, is not there."""
    tool = parse(member(job.params, b"name") or b'""')
    told = f"{tool} was executed. Its answer has {len(row)} bytes, more than this board takes."
    raw = tool_error(told[: max(0, room // 6)])
    return b'{"key":' + dump(job.key) + b',"result":' + raw + b"}"
